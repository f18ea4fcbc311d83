// os-keypairs: a resource of its own. Clients see it as `openstack keypair ..`.

import { createHash, generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import { HTTPBadRequest } from '../../../mini-wsgi.ts'
import { contextOf } from '../auth.ts'
import { isoTime, noContent, paginate } from '../common.ts'
import { expectedErrors, response, type Method, type VersionedMethod }
  from '../controller.ts'
import { ResourceExtension, type ExtensionDescriptor, type ExtensionManager }
  from '../extensions.ts'
import type { OpenStackRequest } from '../microversion.ts'
import { orHTTPError, store, type Keypair } from '../store.ts'
import { checkChoice, checkName, checkText, entity, field, wrong } from '../validation.ts'

/** The extension: it says who it is, and what it adds. */
export class Keypairs implements ExtensionDescriptor {
  readonly name = 'Keypairs'
  readonly alias = 'os-keypairs'
  readonly doc = 'Key pairs of a user, to log in to servers with.'
  readonly updated = '2011-08-08T00:00:00Z'

  constructor(manager: ExtensionManager) { manager.register(this) }

  getResources(): ResourceExtension[] {
    return [new ResourceExtension('os-keypairs', new KeypairsController())]
  }
}

interface One { id: string }
interface WithBody { body: unknown }

/** 2.2 has changed the status codes, and added `type`. */
export class KeypairsController {
  readonly versionedMethods: Readonly<Record<string, readonly VersionedMethod[]>> = {
    create: [
      { min: '2.1', max: '2.1', func: response(200)(makeCreate()) },
      { min: '2.2', func: response(201)(makeCreate()) },
    ],
    delete: [
      { min: '2.1', max: '2.1', func: response(202)(makeDelete(() => null)) },
      { min: '2.2', func: makeDelete(noContent) },
    ],
  }

  readonly index: Method = expectedErrors(400)(async (req: OpenStackRequest) => {
    const all = await store().keypairs(contextOf(req).userId)
    const { items, next } = paginate(req, all.map(withId), 'os-keypairs')
    const keypairs = items.map((keypair) => ({ keypair: viewKeypair(req, keypair) }))
    return { keypairs, ...(next.length ? { keypairs_links: next } : {}) }
  })

  readonly show: Method = expectedErrors(404)((req: OpenStackRequest, { id }: One) =>
    showKeypair(req, id))

  /** To the mapper, /os-keypairs/new is a form; here it is the key pair of that name. */
  readonly new: Method = expectedErrors(404)((req: OpenStackRequest) =>
    showKeypair(req, 'new'))
}

// Pages go by id, and the id of a key pair is its name.
const withId = (keypair: Keypair): Keypair & { id: string } =>
  ({ ...keypair, id: keypair.name })

/** Key pairs per user. */
const QUOTA = 100

const makeCreate = (): Method => expectedErrors([400, 403, 409])(
  async (req: OpenStackRequest, { body }: WithBody) => {
    const fields = entity(body, 'keypair')
    const name = readName(field(fields, 'name'))
    checkChoice(field(fields, 'type') ?? 'ssh', 'type', ['ssh'])
    const file = field(fields, 'public_key')          // clients send it as it is: a line
    const given = checkText(typeof file === 'string' ? file.trim() : file, 'public_key',
      16384)
    const made = given === null ? await generate() : null
    const publicKey = made?.publicKey ?? given ?? ''
    const { userId: user_id } = contextOf(req)
    const keypair =
      { name, publicKey, fingerprint: fingerprint(publicKey), created: Date.now() }
    await orHTTPError(store().addKeypair(user_id, keypair, QUOTA))
    const secret = made ? { private_key: made.privateKey } : {}
    return { keypair: { ...viewKeypair(req, keypair), user_id, ...secret } }
  })

// It becomes the last part of a URL: no slash, and no dot that could begin a format.
function readName(value: unknown): string {
  const name = checkName(value, 'name')
  if (/^[\w -]+$/.test(name)) return name
  throw wrong('name', 'letters, digits, spaces, - and _', name)
}

const makeDelete = (answer: () => unknown): Method => expectedErrors(404)(
  async (req: OpenStackRequest, { id }: One) => {
    await orHTTPError(store().dropKeypair(contextOf(req).userId, id))
    return answer()
  })

async function showKeypair(req: OpenStackRequest, name: string): Promise<object> {
  const keypair = await orHTTPError(store().keypair(contextOf(req).userId, name))
  return { keypair: { ...viewKeypair(req, keypair), ...viewMore(req, keypair) } }
}

function viewKeypair(req: OpenStackRequest, keypair: Keypair): object {
  const { name, publicKey: public_key, fingerprint } = keypair
  return { name, public_key, fingerprint, ...(req.speaks('2.2') ? { type: 'ssh' } : {}) }
}

function viewMore(req: OpenStackRequest, { name, created }: Keypair): object {
  const created_at = isoTime(created).replace('Z', '.000000')
  return { id: name, user_id: contextOf(req).userId, created_at, deleted: false }
}

// An OpenSSH key: its type, its bytes (which begin with the type again), a comment.
function fingerprint(publicKey: string): string {
  const [type = '', data = ''] = publicKey.split(' ')
  const bytes = Buffer.from(data, 'base64')
  if (!type || bytes.subarray(4, 4 + type.length).toString() !== type) {
    throw new HTTPBadRequest({ explanation: 'public_key must be an OpenSSH public key.' })
  }
  return createHash('md5').update(bytes).digest('hex').replace(/..(?=.)/g, '$&:')
}

async function generate(): Promise<{ publicKey: string; privateKey: string }> {
  const pair = await promisify(generateKeyPair)('ed25519')
  const raw = Buffer.from(pair.publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  const data = [Buffer.from('ssh-ed25519'), raw].flatMap((part) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(part.length)
    return [length, part]
  })
  const publicKey = `ssh-ed25519 ${Buffer.concat(data).toString('base64')} generated`
  const privateKey = pair.privateKey.export({ format: 'pem', type: 'pkcs8' })
  return { publicKey, privateKey: String(privateKey) }
}
