// The world of this cloud: what never changes while it runs.

/** A user may log in to `projects` with `password`. */
export interface User {
  readonly id: string
  readonly name: string
  readonly password: string
  readonly projects: readonly string[]
  readonly roles: readonly string[]
}

export interface Project { readonly id: string; readonly name: string }

export interface Flavor {
  readonly id: string
  readonly name: string
  readonly ram: number                    // MB
  readonly disk: number                   // GB
  readonly vcpus: number
}

export interface Image {
  readonly id: string
  readonly name: string
  readonly size: number
  readonly minDisk: number
  readonly minRam: number
  readonly checksum: string
}

export const DOMAIN: { readonly id: string; readonly name: string } =
  { id: 'default', name: 'Default' }

export const REGION = 'RegionOne'

/** Ids are hex, as keystone makes them: ProjectMapper reads nothing else as a project. */
export const PROJECTS: readonly Project[] = [
  { id: '0de4c1bcf3d14ab0a3b3a2ae2c0c9a01', name: 'demo' },
  { id: 'ad41f0c8b7a24d9d9f2f51f3f9f4ad02', name: 'admin' },
]

export const USERS: readonly User[] = [
  {
    id: '5e3d9b1f7a0c4f6e8d2b4c6a8e0f1d01', name: 'demo', password: 'secret',
    projects: ['0de4c1bcf3d14ab0a3b3a2ae2c0c9a01'], roles: ['member'],
  },
  {
    id: '5e3d9b1f7a0c4f6e8d2b4c6a8e0f1d02', name: 'admin', password: 'secret',
    projects: ['ad41f0c8b7a24d9d9f2f51f3f9f4ad02'], roles: ['admin', 'member'],
  },
]

export const FLAVORS: readonly Flavor[] = [
  { id: '1', name: 'm1.tiny', ram: 512, disk: 1, vcpus: 1 },
  { id: '2', name: 'm1.small', ram: 2048, disk: 20, vcpus: 1 },
  { id: '3', name: 'm1.medium', ram: 4096, disk: 40, vcpus: 2 },
  { id: '4', name: 'm1.large', ram: 8192, disk: 80, vcpus: 4 },
]

export const IMAGES: readonly Image[] = [
  {
    id: '70a599e0-31e7-49b7-b260-868f441e862b', name: 'cirros', size: 21430272,
    minDisk: 0, minRam: 0, checksum: 'c8fc807773e5354afe61636071771906',
  },
  {
    id: '155d900f-4e14-4e4c-a73d-069cbf4541e6', name: 'debian-12', size: 347406336,
    minDisk: 2, minRam: 256, checksum: 'b9d5a3c1e0f24c6d8a7e5f3b1d9c0a24',
  },
]

const SERVICES = [
  { type: 'identity', name: 'keystone', id: 'c1', path: '/identity' },
  { type: 'compute', name: 'nova', id: 'c2', path: '/v2.1' },
  { type: 'image', name: 'glance', id: 'c3', path: '/image' },
].map((service) => ({ ...service, id: service.id.repeat(16) }))

const INTERFACES = ['public', 'internal', 'admin']

/** Keystone's catalog; `host` is the one of the request, so that any port works. */
export function catalog(host: string): object[] {
  return SERVICES.map(({ type, name, id, path }) => ({
    type, name, id,
    endpoints: INTERFACES.map((kind, n) => ({
      id: id.slice(0, 31) + n, interface: kind, region: REGION, region_id: REGION,
      url: host + path,
    })),
  }))
}

/** The same for the v2.0 of the articles: one endpoint with three URLs. */
export function serviceCatalog(host: string): object[] {
  return SERVICES.map(({ type, name, id, path }) => {
    const url = host + path
    const urls = { publicURL: url, internalURL: url, adminURL: url }
    const endpoints = [{ id, region: REGION, ...urls }]
    return { type, name, endpoints, endpoints_links: [] }
  })
}
