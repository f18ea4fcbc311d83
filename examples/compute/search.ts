// GET /servers?name=..&status=..: which of the servers are meant.

import { createContext, Script } from 'node:vm'
import { HTTPBadRequest } from '../../mini-wsgi.ts'
import type { OpenStackRequest } from './microversion.ts'
import type { ServerSummary } from './store.ts'
import { status } from './views.ts'

/** Those servers that fit all of the query's filters. Other keys do not filter. */
export function search(req: OpenStackRequest, servers: readonly ServerSummary[]):
    ServerSummary[] {
  const states = req.GET.getAll('status').map((state) => state.toUpperCase())
  const image = req.GET.get('image'), flavor = req.GET.get('flavor')
  const found = servers.filter((server) =>
    (!states.length || states.includes(status(server))) &&
    (image === null || server.imageId === image) &&
    (flavor === null || server.flavorId === flavor))
  const pattern = req.GET.get('name')
  return pattern === null ? found : searchByName(pattern, found)
}

// The name is a regular expression that is searched for: `demo` finds `demo-b`. Clients
// mostly send a plain name; that needs no engine.
function searchByName(pattern: string, servers: ServerSummary[]): ServerSummary[] {
  const names = servers.map(({ name }) => name)
  const hits = /^[\w -]*$/.test(pattern) ? names.map((name) => name.includes(pattern))
    : runPattern(pattern, names)
  return servers.filter((_, n) => hits[n])
}

const MATCH = new Script('names.map(RegExp.prototype.test, new RegExp(pattern))')
const TIME_LIMIT = 50                                                    // milliseconds

// A stranger's expression may run for years, as (a+)+$ does. In a context of its own it
// can be stopped; nova leaves that to its database.
function runPattern(pattern: string, names: string[]): boolean[] {
  try {
    const sandbox = createContext({ __proto__: null, pattern, names })
    return MATCH.runInContext(sandbox, { timeout: TIME_LIMIT }) as boolean[]
  } catch {
    throw new HTTPBadRequest({ explanation: 'name must be a regular expression that is ' +
      `quickly searched for, not ${JSON.stringify(pattern.slice(0, 60))}.` })
  }
}
