// The way of each request through the layers, printed (--trace). What a layer says of a
// request stands here, where that tells more than the environ keys that it has set.

import { trace, type Application, type Environ, type Tree } from '../../mini-wsgi.ts'

type Note = (environ: Environ, step: Tree) => string

const NOTES: Readonly<Record<string, Note>> = {
  osapi_compute: (_, { label }) => label.replace(/ nova\.best_content_type=\S*/, ''),
  compute_req_id: ({ 'openstack.request_id': id }) => String(id).slice(0, 8),
  sizelimit, keystone_sizelimit: sizelimit,
  authtoken: ({ HTTP_X_USER_NAME: user, HTTP_X_PROJECT_NAME: project, HTTP_X_ROLES: of }) =>
    user ? `${user}@${project ?? '-'} [${of}]` : 'no valid token',
  APIRouterV21: ({ 'routes.route': route }, { label }) => // /servers/:(id)/action
    label.replace('Resource', /\/([a-z][\w-]*)/.exec(route?.routepath ?? '')?.[1] ?? '-'),
  Resource: microversion,
  VersionsV2: microversion,
  ImageResource: () => 'JSON',
  keystone_errors: () => 'JSON',
}

function sizelimit({ CONTENT_LENGTH: length }: Environ): string {
  return length ? `${length} <= 114688` : 'no length'
}

function microversion({ 'nova.api_version_request': version }: Environ): string {
  return `JSON, microversion ${version}`
}

/** The application, with one text a request on the console. */
export function printed(app: Application, authStrategy: string): Application {
  const notes: typeof NOTES =
    { ...NOTES, openstack_compute_api_v21: () => `auth_strategy=${authStrategy}` }
  return trace(app, (way, environ) => {
    annotate(way.below, environ, notes)
    console.log(String(way))
  })
}

function annotate(steps: Tree[], environ: Environ, notes: typeof NOTES): void {
  for (const step of steps) {
    step.label = notes[step.name]?.(environ, step) ?? step.label
    annotate(step.below, environ, notes)
  }
}
