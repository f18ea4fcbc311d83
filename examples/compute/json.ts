// Bodies: JSON in, and what it may be.

import type { Request } from '../../mini-wsgi.ts'
import { InvalidContentType, MalformedRequestBody } from './exception.ts'

/** A body as it came; one that is packed is refused, for nothing here unpacks it. */
export async function bodyOf(req: Request): Promise<Uint8Array> {
  const body = await req.bytes()
  const coding = req.headers.get('Content-Encoding') ?? 'identity'
  if (body.length === 0 || /^identity$/i.test(coding)) return body
  throw new InvalidContentType('Unsupported Content-Encoding')
}

/** Strict JSON in strict UTF-8; an empty body is null. */
export function deserialize(body: Uint8Array): unknown {
  if (body.length === 0) return null
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
    return JSON.parse(text) as unknown
  } catch {
    throw new MalformedRequestBody()
  }
}

/** Controller.is_valid_body: is there an object under that key? */
export function isValidBody(body: unknown, entity: string): boolean {
  return isDict(body) && Object.hasOwn(body, entity) && isDict(body[entity])
}

/** A JSON object: neither null nor an array. */
export function isDict(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
