// lock, unlock: two actions on servers that are already there, and a watch over the rest.

import { HTTPConflict } from '../../../mini-wsgi.ts'
import { contextOf, projectOf } from '../auth.ts'
import { expectedErrors, response, type Method, type ResponseObject }
  from '../controller.ts'
import { ControllerExtension, type ExtensionDescriptor, type ExtensionManager }
  from '../extensions.ts'
import { isDict } from '../json.ts'
import type { OpenStackRequest } from '../microversion.ts'
import { cachedServer, getServer } from '../servers.ts'
import { orHTTPError, store } from '../store.ts'

/** The extension: it says who it is, and what it extends. */
export class Lockserver implements ExtensionDescriptor {
  readonly name = 'LockServer'
  readonly alias = 'os-lock-server'
  readonly doc = 'A locked server cannot be changed until it is unlocked.'
  readonly updated = '2014-08-20T00:00:00Z'

  constructor(manager: ExtensionManager) { manager.register(this) }

  getControllerExtensions(): ControllerExtension[] {
    const metadata = { wsgiExtensions:
      { create: guard, update: guard, update_all: guard, delete: guard } }
    return [new ControllerExtension(this, 'servers', new LockController()),
      new ControllerExtension(this, 'server_metadata', metadata)]
  }
}

interface One { id: string }

export class LockController {
  readonly actions: Readonly<Record<string, Method>> = {
    lock: response(202)(setLocked(true)),
    unlock: response(202)(setLocked(false)),
  }

  /** Before these methods; an admin may pass. After the others: `locked`, since 2.9. */
  readonly wsgiExtensions: Readonly<Record<string, Method>> = {
    delete: guard,
    show: addLocked,
    detail: addLocked,
    update: addLocked,
  }

  readonly wsgiActionExtensions: Readonly<Record<string, Method>> = {
    'os-stop': guard,
    'os-start': guard,
    'reboot': guard,
  }
}

function setLocked(locked: boolean): Method {
  return expectedErrors([403, 404])(async (req: OpenStackRequest, { id }: One) => {
    await orHTTPError(store().changeServer(projectOf(req), id, { locked }))
  })
}

// A generator runs up to its yield before the method, and could go on after it.
async function* guard(req: OpenStackRequest, args: One & { server_id?: string }):
    AsyncGenerator<undefined> {
  const id = args.server_id ?? args.id
  const { locked } = await getServer(req, id)
  if (locked && !contextOf(req).isAdmin) {
    throw new HTTPConflict({ explanation: `Instance ${id} is locked` })
  }
  yield undefined
}

// A function runs after the method, and may change the answer.
function addLocked(req: OpenStackRequest, { respObj }: { respObj: ResponseObject }): void {
  if (!req.speaks('2.9')) return
  for (const view of serversIn(respObj.obj)) {
    view.locked = cachedServer(req, view.id)?.locked ?? false
  }
}

interface ServerView { id: string; locked?: boolean }

// {"server": view} or {"servers": [view, ..]}
function serversIn(obj: unknown): ServerView[] {
  const found = isDict(obj) ? obj['servers'] ?? obj['server'] : []
  return [found].flat() as ServerView[]
}
