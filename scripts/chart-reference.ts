// Writes the table of values in daemonset/chart/README.md from values.yaml and its comments, so that neither can know
// more than the other.
// usage: node scripts/chart-reference.ts (a test says when it has to be run)
import { readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { isMap, type Pair, parseDocument, type Scalar, type YAMLMap } from 'yaml'

const CHART = new URL('../daemonset/chart/', import.meta.url)
const [BEGIN, END] = ['<!-- values: written by scripts/chart-reference.ts -->', '<!-- end of values -->']
/** Shown as one value: what is in them is Kubernetes' own. */
const WHOLE =
  /^(nodeSelector|tolerations|updateStrategy|resources\.\w+|(?:publish|fleet)\.resources|dashboards\.labels)$/

function chartReference(values = readFileSync(new URL('values.yaml', CHART), 'utf8')): string {
  const root = parseDocument(values).contents
  if (!isMap(root)) throw new Error('values.yaml is not a map')
  return ['| value | default | what it does |', '| --- | --- | --- |', ...rowsOf(root as Values, ''), ''].join('\n')
}

type Values = YAMLMap<Scalar<string>, unknown>

function rowsOf(map: Values, above: string): readonly string[] {
  return map.items.flatMap((pair, index) => {
    const path = above + pair.key.value
    // The comment before the first key is the map's own.
    const comment = pair.key.commentBefore ?? (index === 0 ? map.commentBefore : undefined)
    const told = cell(comment ?? '')
    const { value } = pair
    if (!isMap(value) || value.items.length === 0 || WHOLE.test(path))
      return [`| \`${path}\` | \`${JSON.stringify(plain(pair))}\` | ${told} |`]
    const own = rowsOf(value as Values, `${path}.`)
    return told === '' ? own : [`| \`${path}\` | | ${told} |`, ...own]
  })
}

function plain({ value }: Pair<Scalar<string>, unknown>): unknown {
  return (value as { toJSON(): unknown }).toJSON()
}

function cell(comment: string): string {
  return comment
    .split('\n')
    .map((line) => line.trim())
    .join(' ')
    .trim()
    .replaceAll('|', '\\|')
    .replaceAll(/(?<=^|[\s(])(docs\/(\w+\.md))/g, '[$2](../../docs/$2)')
}

/** README.md with the table of today in it. */
export function readmeWithReference(before = readFileSync(new URL('README.md', CHART), 'utf8')): string {
  const [from, to] = [before.indexOf(BEGIN), before.indexOf(END)]
  if (from < 0 || to < from) throw new Error('daemonset/chart/README.md has lost the marks around its table')
  return `${before.slice(0, from)}${BEGIN}\n\n${chartReference()}\n${before.slice(to)}`
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  writeFileSync(new URL('README.md', CHART), readmeWithReference())
