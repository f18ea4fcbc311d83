// What a server looks like from outside (nova.api.openstack.compute.views.servers).

import { createHash } from 'node:crypto'
import { bookmark, isoMicros, isoTime, links } from './common.ts'
import { FLAVORS } from './data.ts'
import type { OpenStackRequest } from './microversion.ts'
import type { Server, ServerSummary } from './store.ts'

const POWER_STATES = { building: 0, active: 1, stopped: 4 } as const
const STATUSES = { building: 'BUILD', active: 'ACTIVE', stopped: 'SHUTOFF' } as const

/** BUILD, ACTIVE, SHUTOFF; while a task runs, REBOOT or HARD_REBOOT. */
export function status({ vmState, taskState }: ServerSummary): string {
  if (taskState === 'rebooting') return 'REBOOT'
  return taskState === 'rebooting_hard' ? 'HARD_REBOOT' : STATUSES[vmState]
}

/** The short form, in lists. */
export function viewBasic(req: OpenStackRequest, { id, name }: ServerSummary): object {
  return { id, name, links: links(req, 'servers', id) }
}

/** The long form. What a microversion has added, an older client does not see. */
export function viewServer(req: OpenStackRequest, server: Server): object {
  return {
    ...viewBasic(req, server),
    status: status(server),
    tenant_id: server.projectId,
    user_id: server.userId,
    metadata: Object.fromEntries(server.metadata),
    hostId: hostId(server),
    image: viewLink(req, 'images', server.imageId),
    flavor: viewFlavorOf(req, server.flavorId),
    created: isoTime(server.created),
    updated: isoTime(server.updated),
    addresses: viewAddresses(server),
    accessIPv4: '',
    accessIPv6: '',
    progress: server.vmState === 'building' ? 0 : 100,
    config_drive: '',
    key_name: server.keyName,
    security_groups: [{ name: 'default' }],
    ...viewExtended(server),
    ...(req.speaks('2.19') ? { description: server.description } : {}),
    ...(req.speaks('2.26') ? { tags: [] } : {}),
  }
}

// Attributes that were extensions once, and kept their prefixes.
function viewExtended(server: Server): object {
  return {
    'OS-DCF:diskConfig': server.diskConfig,
    'OS-EXT-AZ:availability_zone': server.launched ? 'nova' : '',
    'OS-EXT-STS:task_state': server.taskState,
    'OS-EXT-STS:vm_state': server.vmState,
    'OS-EXT-STS:power_state': POWER_STATES[server.vmState],
    'OS-SRV-USG:launched_at': server.launched && isoMicros(server.launched).slice(0, -1),
    'OS-SRV-USG:terminated_at': null,
    'os-extended-volumes:volumes_attached': [],
  }
}

// Since 2.47: what the server was made from, not a link to what the flavor may be now.
function viewFlavorOf(req: OpenStackRequest, id: string): object {
  const flavor = FLAVORS.find((candidate) => candidate.id === id)
  if (!flavor || !req.speaks('2.47')) return viewLink(req, 'flavors', id)
  const { vcpus, ram, disk, name } = flavor
  return { vcpus, ram, disk, ephemeral: 0, swap: 0, original_name: name, extra_specs: {} }
}

function viewLink(req: OpenStackRequest, collection: string, id: string): object {
  return { id, links: [{ rel: 'bookmark', href: bookmark(req, collection, id) }] }
}

function viewAddresses({ network, address, mac }: Server): object {
  if (!network) return {}
  const port = {
    version: 4, addr: address,
    'OS-EXT-IPS:type': 'fixed', 'OS-EXT-IPS-MAC:mac_addr': mac,
  }
  return { private: [port] }
}

// Which servers share a host, without saying which host that is.
function hostId({ projectId, launched }: Server): string {
  return launched ? createHash('sha224').update(`${projectId}host-1`).digest('hex') : ''
}
