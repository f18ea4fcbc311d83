// Extensions (nova.api.openstack.extensions): what adds resources and actions to the API
// without a line in its routes. A folder of files; each file holds a class of its name.

import { readdir } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { HTTPNotFound, type Mapper } from '../../mini-wsgi.ts'
import type { Controller } from './controller.ts'
import type { Resource } from './wsgi.ts'

type ParentResource = { memberName: string; collectionName: string }

/** What an extension adds: a collection of its own. */
export class ResourceExtension {
  readonly collection: string
  controller: object | null
  readonly parent: ParentResource | undefined
  readonly collectionActions: Record<string, string>
  readonly memberActions: Record<string, string>
  readonly customRoutesFn: ((mapper: Mapper, resource: Resource) => void) | undefined
  readonly inherits: string | undefined

  constructor(collection: string, controller: object | null, options: {
    parent?: ParentResource
    collectionActions?: Record<string, string>
    memberActions?: Record<string, string>
    customRoutesFn?: (mapper: Mapper, resource: Resource) => void
    inherits?: string               // a collection whose controller and extensions to use
  } = {}) {
    this.collection = collection
    this.controller = controller
    this.parent = options.parent
    this.collectionActions = options.collectionActions ?? {}
    this.memberActions = options.memberActions ?? {}
    this.customRoutesFn = options.customRoutesFn
    this.inherits = options.inherits
  }
}

/** What an extension adds to a collection that is already there. */
export class ControllerExtension {
  readonly extension: ExtensionDescriptor
  readonly collection: string
  readonly controller: Controller

  constructor(extension: ExtensionDescriptor, collection: string,
      controller: Controller) {
    this.extension = extension
    this.collection = collection
    this.controller = controller
  }
}

/** An extension says who it is, and what it adds. Its constructor registers it. */
export interface ExtensionDescriptor {
  readonly name: string
  readonly alias: string
  readonly doc: string
  readonly updated: string
  getResources?(): ResourceExtension[]
  getControllerExtensions?(): ControllerExtension[]
}

/** Makes an extension, or several: a class, or a function. */
export type ExtensionFactory = (new (manager: ExtensionManager) => unknown) |
  ((manager: ExtensionManager) => unknown)

/** Loads extensions, and knows them by alias. */
export class ExtensionManager {
  readonly extensions: Map<string, ExtensionDescriptor> = new Map()
  readonly #specs: readonly (string | ExtensionFactory)[]

  /** `specs`: factories, or `path/to/file.js:ClassName`. */
  constructor(specs: readonly (string | ExtensionFactory)[] = []) { this.#specs = specs }

  /** Loads all of them; one that fails is logged, and the rest go on. */
  async load(): Promise<this> {
    for (const spec of this.#specs) await this.tryLoad(spec)
    return this
  }

  async tryLoad(spec: string | ExtensionFactory): Promise<void> {
    try {
      await this.loadExtension(spec)
    } catch (error) {
      const name = typeof spec === 'string' ? spec : spec.name || 'a function'
      console.warn(`Extension ${JSON.stringify(name)} is left out: ${String(error)}`)
    }
  }

  async loadExtension(spec: string | ExtensionFactory): Promise<void> {
    const factory = typeof spec === 'string' ? await importClass(spec) : spec
    if (isClass(factory)) new factory(this)
    else await (factory as (manager: ExtensionManager) => unknown)(this)
  }

  /** Called by the extension itself. */
  register(extension: ExtensionDescriptor): void {
    if (!this._checkExtension(extension)) return
    if (this.extensions.has(extension.alias)) {
      throw new Error(`Two extensions have the alias ` +
        `${JSON.stringify(extension.alias)}; rename one of them`)
    }
    this.extensions.set(extension.alias, extension)
  }

  // One that does not say who it is, is left out with a warning.
  _checkExtension(extension: Partial<ExtensionDescriptor>): boolean {
    for (const key of ['name', 'alias', 'doc', 'updated'] as const) {
      if (typeof extension[key] === 'string' && extension[key]) continue
      console.warn(`Extension ${JSON.stringify(extension.alias ?? extension.name)} ` +
        `has no ${key}; it is left out. Give it a string.`)
      return false
    }
    return true
  }

  isLoaded(alias: string): boolean { return this.extensions.has(alias) }

  sorted(): ExtensionDescriptor[] {
    return [...this.extensions.values()].sort((a, b) => a.alias < b.alias ? -1 : 1)
  }

  /** The collections of all extensions, and the one that lists them. */
  getResources(): ResourceExtension[] {
    const list = new ResourceExtension('extensions', new ExtensionsController(this))
    return [list, ...this.sorted().flatMap((one) => one.getResources?.() ?? [])]
  }

  getControllerExtensions(): ControllerExtension[] {
    return this.sorted().flatMap((one) => one.getControllerExtensions?.() ?? [])
  }
}

/** GET /extensions and /extensions/{alias}. */
class ExtensionsController {
  readonly #manager: ExtensionManager

  constructor(manager: ExtensionManager) { this.#manager = manager }

  index(): object { return { extensions: this.#manager.sorted().map(describeExtension) } }

  show(_req: unknown, { id }: { id: string }): object {
    const extension = this.#manager.extensions.get(id)
    if (!extension) throw new HTTPNotFound()
    return { extension: describeExtension(extension) }
  }
}

function describeExtension({ name, alias, doc, updated }: ExtensionDescriptor): object {
  return { name, alias, description: doc, updated, links: [] }
}

const isClass = (value: unknown): value is new (manager: ExtensionManager) => unknown =>
  typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value))

/** `path/to/file.js:ClassName` -> the class (nova.utils.import_class). */
export async function importClass(spec: string): Promise<ExtensionFactory> {
  const colon = spec.lastIndexOf(':')
  const file = spec.slice(0, colon), name = spec.slice(colon + 1)
  const module = await import(pathToFileURL(file).href) as Record<string, unknown>
  const found = module[name]
  if (typeof found === 'function') return found as ExtensionFactory
  throw new Error(`${JSON.stringify(file)} exports no class ${JSON.stringify(name)}; ` +
    `it exports ${Object.keys(module).join(', ') || 'nothing'}`)
}

/**
 * Every file of a folder, by name: keypairs.js holds the class Keypairs. A folder inside
 * that has an index with `extension(manager)` loads its own; any other is walked.
 */
export async function loadStandardExtensions(manager: ExtensionManager, dir: string,
    only?: readonly string[]): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true })
  for (const entry of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = join(dir, entry.name)
    const root = basename(entry.name, extname(entry.name))
    const className = root.charAt(0).toUpperCase() + root.slice(1)
    const isWanted = isModule(entry.name) && (only?.includes(className) ?? true)
    if (entry.isDirectory()) await loadFolder(manager, path, only)
    else if (isWanted) await manager.tryLoad(`${path}:${className}`)
  }
}

async function loadFolder(manager: ExtensionManager, dir: string,
    only?: readonly string[]): Promise<void> {
  const index = (await readdir(dir)).find((name) => /^index\.(m?js|ts)$/.test(name))
  if (index) await manager.tryLoad(`${join(dir, index)}:extension`)
  else await loadStandardExtensions(manager, dir, only)
}

// Declarations and tests are no extensions, nor is the index of a folder.
const isModule = (name: string): boolean =>
  /\.(m?js|ts)$/.test(name) && !/\.(d|test)\.m?[jt]s$|^index\./.test(name)
