// Makes a module of each example in the documentation, for tsc to check and the tests to run:
// every ```ts block of README.md and every @example of mini-wsgi.ts becomes
// .ci/examples/<file>-<line>.ts, where
//
//   expr //=> value          is  same(await (expr), value)
//   expr //=> throws /re/    is  rejects(async () => (expr), /re/)
//
// The value may stand on the next line, in a comment of its own. `made` counts the checks that
// ran, `written` those that are there.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'

const root = new URL('../', import.meta.url)
const read = (name) => existsSync(new URL(name, root)) ? readFileSync(new URL(name, root), 'utf8') : ''
const source = read('mini-wsgi.ts')

/** The blocks of a file as [line, code]. */
const blocks = (text, pattern, codeOf) => [...text.matchAll(pattern)].map((found) =>
  [text.slice(0, found.index).split('\n').length, codeOf(found[1])])
const examples = {
  readme: blocks(read('README.md'), /^```ts\n(.*?)^```/gms, (code) => code),
  'mini-wsgi': blocks(source, /^ *\* @example\n(.*?)(?=^ *\*\/|^ *\* @)/gms,
    (code) => code.replace(/^ *\* ?/gm, '')),
}

/** Names that mini-wsgi.ts exports, as an import statement writes them. */
const exported = new Map([...source.matchAll(
  /^export (?:async )?(function|class|const|interface|type) (\w+)/gm)].map(([, kind, name]) =>
  [name, kind === 'interface' || kind === 'type' ? `type ${name}` : name]))

/** The import that a block without one needs: of the exports that it names. */
function importFor(code) {
  const bare = code.replace(/\/\/(?!=>).*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/g, '')
  const used = [...exported.keys()].filter((name) => new RegExp(`(?<![.\\w])${name}\\b`).test(bare)
    && !new RegExp(`\\b(?:const|class|function|interface|type) ${name}\\b`).test(bare))
  return `import { ${used.map((name) => exported.get(name)).join(', ')} } from '../../mini-wsgi.ts'\n`
}

/** Turns each check into a call. A statement begins at the margin, and not with a bracket. */
function withChecks(code) {
  const lines = []
  for (const line of code.split('\n')) {
    const [, last, value] = /^(.*?)\s*\/\/=> (.*)$/.exec(line) ?? []
    if (value === undefined) {
      lines.push(line)
      continue
    }
    if (last !== '') lines.push(last)
    let start = lines.length - 1
    while (start > 0 && /^(?:[\s)\]}.]|$)/.test(lines[start])) start--
    const statement = lines.splice(start).join('\n')
    const error = /^throws (\/.*\/[a-z]*)$/.exec(value)?.[1]
    lines.push(error ? `;await tests.rejects(async () => (${statement}), ${error})`
      : `;tests.same(await (${statement}), ${value})`, 'made++')
  }
  return lines.join('\n')
}

/** A block as a module of its own. */
function moduleOf(code) {
  const written = code.match(/\/\/=> /g)?.length ?? 0
  const local = code.replace(/(from ')(?:\.\/mini-wsgi\.ts|mini-wsgi)(')/g, '$1../../mini-wsgi.ts$2')
    .replace(/^export default /gm, 'export const exported: unknown = ')
  return (local.includes('../../mini-wsgi.ts') ? '' : importFor(code))
    + (written > 0 ? "import * as tests from '../../mini-wsgi.test.ts'\n" : '')
    + `export let made: number = 0\nexport const written: number = ${written}\n`
    + withChecks(local)
}

for (const folder of ['.ci/examples/', 'dist/.ci/examples/']) {
  rmSync(new URL(folder, root), { recursive: true, force: true })
}
mkdirSync(new URL('.ci/examples/', root), { recursive: true })
for (const [stem, list] of Object.entries(examples)) {
  for (const [line, code] of list) {
    writeFileSync(new URL(`.ci/examples/${stem}-${line}.ts`, root), moduleOf(code))
  }
}
