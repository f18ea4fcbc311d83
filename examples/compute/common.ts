// What the controllers share (nova.api.openstack.common): links, pages, times.

import { HTTPBadRequest, Response } from '../../mini-wsgi.ts'
import type { OpenStackRequest } from './microversion.ts'

/** No page is longer, whatever `limit` says. */
const MAX_LIMIT = 1000

export interface Link { readonly rel: string; readonly href: string }

/** `self` with the version in it, `bookmark` without. */
export function links(req: OpenStackRequest, collection: string, id: string): Link[] {
  return [
    { rel: 'self', href: `${req.applicationUrl}/${collection}/${id}` },
    { rel: 'bookmark', href: bookmark(req, collection, id) },
  ]
}

/** A link that survives the next version of the API. */
export function bookmark(req: OpenStackRequest, collection: string, id: string): string {
  return `${req.applicationUrl.replace(/\/v[0-9.]+$/, '')}/${collection}/${id}`
}

/** A part of a list, and the link to the next part if there is one. */
export interface Page<T> { readonly items: T[]; readonly next: Link[] }

/** `limit` and `marker`; `path` is the collection in the link to the next page. */
export function paginate<T extends { readonly id: string }>(req: OpenStackRequest,
    all: readonly T[], path: string): Page<T> {
  const limit = limitOf(req)
  const start = startOf(req, all)
  const items = all.slice(start, start + limit)
  const last = items.at(-1)
  if (!last || start + limit >= all.length) return { items, next: [] }
  const query = new URLSearchParams(String(req.GET))
  query.set('limit', String(limit))
  query.set('marker', last.id)
  const href = `${req.applicationUrl}/${path}?${query}`
  return { items, next: [{ rel: 'next', href }] }
}

function limitOf(req: OpenStackRequest): number {
  const limit = req.GET.get('limit')
  if (limit === null) return MAX_LIMIT
  if (/^[0-9]+$/.test(limit)) return Math.min(Number(limit), MAX_LIMIT)
  throw new HTTPBadRequest({
    explanation: `limit must be an integer, 0 or more, not ${JSON.stringify(limit)}.`,
  })
}

function startOf(req: OpenStackRequest, all: readonly { readonly id: string }[]): number {
  const marker = req.GET.get('marker')
  if (marker === null) return 0
  const found = all.findIndex(({ id }) => id === marker)
  if (found >= 0) return found + 1
  throw new HTTPBadRequest({ explanation: `marker [${marker}] not found` })
}

/** 2024-05-01T12:30:00Z */
export const isoTime = (ms: number): string => isoMicros(ms).replace(/\.\d+/, '')

/** 2024-05-01T12:30:00.000000Z, as keystone writes it. */
export const isoMicros = (ms: number): string =>
  new Date(ms).toISOString().replace('Z', '000Z')

/** A 204 as PEP 3333 wants it. `response(204)` makes nova's, which has a Content-Type. */
export const noContent = (): Response => new Response({ status: 204 })
