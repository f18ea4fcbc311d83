import { app } from './app.ts'
import { toFetch } from './mini-wsgi.ts'

export default { fetch: toFetch(app) }
