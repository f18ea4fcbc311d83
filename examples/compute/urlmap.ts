// nova's URLMap (nova.api.openstack.urlmap): the version of the API stands in the path,
// or in the Content-Type of the request, or in what it accepts.

import {
  URLMap, callApplication, urlmapFactory as plainFactory,
  type Application, type Body, type Conf, type ConfigLoader, type Environ, type Mount,
  type StartResponse,
} from '../../mini-wsgi.ts'
import { suffixType, supportedContentTypes } from './microversion.ts'

/** Chooses the app, and says in `nova.best_content_type` what the answer should be. */
export class OpenStackURLMap extends URLMap {
  override __call__(environ: Environ, start: StartResponse): Body | Promise<Body> {
    const path = environ.PATH_INFO.replace(/\/{2,}/g, '/')
    const found = this._find(environ, path)
    const accept = bestMatch(environ['HTTP_ACCEPT'] ?? '', offers(path, found))
    const other = found?.prefix ? undefined :
      this._findVersion(environ, parseMediaType(environ.CONTENT_TYPE ?? '')) ??
      this._findVersion(environ, accept)
    if (found || other) {
      const best = suffixType(path) ?? accept?.type ?? 'application/json'
      environ['nova.best_content_type'] = best
    }
    if (!other) return super.__call__(environ, start)
    environ.SCRIPT_NAME += other.prefix          // the version did not stand in PATH_INFO
    return callApplication(other.app, environ, start)
  }

  /** `version=2` in a header asks for what is mounted at /v2. */
  _findVersion(environ: Environ, type: MediaType | null): Mount | undefined {
    const version = type?.params.get('version')
    return version === undefined ? undefined : this._find(environ, `/v${version}`)
  }
}

/** [composite:osapi_compute] `use = call:nova:urlmapFactory` */
export async function urlmapFactory(
  loader: ConfigLoader, globalConf: Conf, localConf: Conf,
): Promise<Application> {
  const { mounts, notFoundApp } = await plainFactory(loader, globalConf, localConf)
  const map = new OpenStackURLMap({}, { notFoundApp })
  for (const { domain, prefix, app } of mounts) {
    map.set(domain === null ? prefix || '/' : `http://${domain}${prefix}`, app)
  }
  return map
}

// The root of a mount can also be had as a feed of its versions.
function offers(path: string, found: Mount | undefined): string[] {
  const types = supportedContentTypes()
  return path === `${found?.prefix ?? ''}/` ? [...types, 'application/atom+xml'] : types
}

/** `application/json;version=2` -> its type and its parameters. */
interface MediaType { type: string; params: ReadonlyMap<string, string> }

// One piece; its name may stand in quotes, and so may its value. A parameter without a
// value says nothing.
const PIECE = /;\s*([^\s;=]+|"(?:[^"\\]|\\.)*")\s*(?:=\s*([^;]+))?/g

function parseMediaType(text: string): MediaType {
  const pieces = [...`;${text}`.matchAll(PIECE)].map(([, name = '', value]) =>
    [unquote(name), value && unquote(value)] as const)
  const params = pieces.slice(1).filter((piece): piece is [string, string] => !!piece[1])
  return { type: pieces[0]?.[0] ?? '', params: new Map(params) }
}

const unquote = (text: string): string => text.replace(/^"(.*)"$/s, '$1')

// Commas inside of quotes do not separate.
const parseAccept = (header: string): MediaType[] =>
  (header.match(/(?:[^,"]|"(?:[^"\\]|\\.)*"?)+/g) ?? [])
    .map((part) => parseMediaType(part.trim()))

const stars = (mask: string): number => mask.split('*').length - 1

function matchesMask(mask: string, type: string): boolean {
  if (!mask.includes('*') || mask === '*/*') return mask === '*/*' || mask === type
  return type.startsWith(`${mask.slice(0, -2)}/`)
}

/** The best of the types on offer: by quality, then the mask with fewer stars. */
function bestMatch(header: string, offers: readonly string[]): MediaType | null {
  let best: MediaType | null = null
  let bestQuality = -1, bestStars = 2
  for (const type of offers) {
    for (const { type: mask, params } of parseAccept(header)) {
      const q = params.get('q') ?? '1'
      const quality = /^[\d.e+-]+$/i.test(q.trim()) ? Number(q) : NaN
      if (Number.isNaN(quality) || quality < bestQuality) continue
      if (quality === bestQuality && bestStars <= stars(mask)) continue
      if (!matchesMask(mask, type)) continue
      best = { type, params }
      bestQuality = quality
      bestStars = stars(mask)
    }
  }
  return best
}
