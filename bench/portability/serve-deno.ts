import { handler } from './app.ts'

Deno.serve({ hostname: '127.0.0.1', port: 0 }, handler)
