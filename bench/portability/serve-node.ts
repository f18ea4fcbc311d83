import { app } from './app.ts'
import { makeServer } from './mini-wsgi.ts'

const server = await makeServer('127.0.0.1', 0, app)
console.log(`http://127.0.0.1:${server.port}`)
await server.serveForever()
