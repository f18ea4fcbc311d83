// An application inside Express: npm install express && node examples/in-express.ts

import express from 'express'
import { Router, toNode } from '../mini-wsgi.ts'

const router = new Router()
router.get('/hello/{name}', (req, { name }) => `Hello ${name} from ${req.scriptName}!\n`)

const app = express()
app.use('/v1', toNode(router))
const server = app.listen(Number(process.env['PORT'] ?? 8080), '127.0.0.1', () => {
  console.log('listening on', `http://127.0.0.1:${Object(server.address()).port}`)
})
