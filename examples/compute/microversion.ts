// Microversions (nova.api.openstack.api_version_request), and a Request that knows them.

import { Request } from '../../mini-wsgi.ts'
import { InvalidAPIVersionString, InvalidContentType, InvalidGlobalAPIVersion }
  from './exception.ts'

/** What this API speaks. 2.47 is the last change of the server's shape that we show. */
export const MIN_API_VERSION = '2.1'
export const MAX_API_VERSION = '2.47'

export const API_VERSION_HEADER = 'OpenStack-API-Version'
export const LEGACY_API_VERSION_HEADER = 'X-OpenStack-Nova-API-Version'

const SERVICE_TYPE = 'compute'
const CONTENT_TYPES = ['application/json', 'application/vnd.openstack.compute+json']

/** The content types that a body may have, and an answer. */
export const supportedContentTypes = (): string[] => [...CONTENT_TYPES]

/** MAJOR.MINOR, ordered as numbers: 2.10 is above 2.9. Without a string it is null. */
export class APIVersionRequest {
  readonly major: number = 0
  readonly minor: number = 0
  readonly #text: string = ''

  constructor(version?: string | null) {
    if (version === undefined || version === null) return
    const match = /^([1-9][0-9]*)\.([1-9][0-9]*|0)$/.exec(version)
    if (!match) throw new InvalidAPIVersionString(version)
    this.major = Number(match[1])
    this.minor = Number(match[2])
    this.#text = version
  }

  isNull(): boolean { return this.#text === '' }

  /** Negative, zero or positive, as Array.sort wants it. */
  compare(other: APIVersionRequest): number {
    return this.major - other.major || this.minor - other.minor
  }

  /** Between both, inclusive; a null bound does not bind. */
  matches(min: APIVersionRequest, max: APIVersionRequest): boolean {
    if (this.isNull()) throw new Error('A null API version matches nothing')
    return (min.isNull() || this.compare(min) >= 0) &&
      (max.isNull() || this.compare(max) <= 0)
  }

  /** The very digits of the request, which a number above 2^53 would not keep. */
  getString(): string {
    if (this.isNull()) throw new Error('A null API version has no string')
    return this.#text
  }

  toString(): string { return this.isNull() ? 'null' : this.getString() }
}

/** The bounds of one Resource, as strings; `Resource` takes them as options. */
export interface VersionLimits {
  readonly minVersion?: string
  readonly maxVersion?: string
  readonly defaultVersion?: string
}

const NULL_VERSION = new APIVersionRequest()
const VERSION_KEY = 'nova.api_version_request'

/** wsgi.Request of nova. What it finds out lives in environ, so every layer sees it. */
export class OpenStackRequest extends Request {
  /** The microversion; null until a Resource has read the headers. */
  get apiVersionRequest(): APIVersionRequest {
    return (this.environ[VERSION_KEY] as APIVersionRequest | undefined) ?? NULL_VERSION
  }

  set apiVersionRequest(value: APIVersionRequest) { this.environ[VERSION_KEY] = value }

  /** Reads the two headers; throws when the version is malformed or out of bounds. */
  setApiVersionRequest(limits: VersionLimits = {}): void {
    const min = limits.minVersion ?? MIN_API_VERSION
    const max = limits.maxVersion ?? MAX_API_VERSION
    const wanted = requestedVersion(this) ?? limits.defaultVersion ?? MIN_API_VERSION
    this.apiVersionRequest = new APIVersionRequest(wanted === 'latest' ? max : wanted)
    if (!this.speaks(min, max)) throw new InvalidGlobalAPIVersion(wanted, min, max)
  }

  /** Is the request's microversion at least `min` (and at most `max`)? */
  speaks(min: string, max?: string): boolean {
    const from = new APIVersionRequest(min), to = new APIVersionRequest(max)
    return this.apiVersionRequest.matches(from, to)
  }

  /** The type of the answer: OpenStackURLMap's choice, the path's suffix, then Accept. */
  bestMatchContentType(): string {
    const known = this.environ['nova.best_content_type'] as string | undefined
    const best = known ?? suffixType(this.path) ?? this.accept.bestMatch(CONTENT_TYPES)
    return (this.environ['nova.best_content_type'] = best ?? 'application/json')
  }

  /** The type of the body, or null if it does not say. Throws for one we do not read. */
  getContentType(): string | null {
    const type = this.contentType
    if (!type || type === 'text/plain') return null
    if (!CONTENT_TYPES.includes(type)) throw new InvalidContentType()
    return type
  }
}

/** `/servers/detail.json` asks for application/json. */
export function suffixType(path: string): string | null {
  const dot = path.lastIndexOf('.')
  const type = 'application/' + path.slice(dot + 1)
  return dot >= 0 && CONTENT_TYPES.includes(type) ? type : null
}

// microversion_parse.get_version: the new header names the service and may carry several
// ("compute 2.4, volume 3.0"); the last one for us counts. The old header is the version.
function requestedVersion(req: Request): string | null {
  const standard = req.headers.get(API_VERSION_HEADER) ?? ''
  for (const part of standard.split(',').reverse()) {
    const [, service, version] = /^(\S+)\s+(.*)$/.exec(part.trim()) ?? []
    if (service?.toLowerCase() === SERVICE_TYPE && version) return version.trim()
  }
  return req.headers.get(LEGACY_API_VERSION_HEADER)?.split(',').at(-1)?.trim() ?? null
}
