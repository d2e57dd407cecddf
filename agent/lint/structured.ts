// What a line alone does not tell: settings whose value stands on other lines, and those that count only in an object
// of a certain kind. Reads YAML and JSON with a parser and the sections of TOML and INI by their shape. A file that
// does not parse, such as a template, has its lines alone.
import { isMap, isPair, isScalar, isSeq, LineCounter, parseAllDocuments, visit, type YAMLMap } from 'yaml'
import type { InsecureFlag } from './flag.ts'

const MOST_CHARACTERS = 256 * 1024

type Found = Omit<InsecureFlag, 'line' | 'column'> & { readonly offset: number }

const DECLARE = 'nothing: declare the CA of the host in trust.yaml, then take the entry out'
const OFF = /^(?:false|no|off|0)$/i
const ON = /^(?:true|yes|on|1)$/i

/** `text` with comments blanked, at the same offsets. */
export function structuredFlags(text: string, blanked: string): readonly InsecureFlag[] {
  if (text.length > MOST_CHARACTERS) return []
  const counter = new LineCounter()
  const found = [...spans(blanked), ...(looksLikeYaml(text) ? inYaml(text, counter) : [])]
  const starts = lineStarts(text)
  return found.map(({ offset, ...flag }) => {
    const line = starts.findLastIndex((start) => start <= offset)
    return { line: line + 1, column: offset - (starts[line] ?? 0) + 1, ...flag }
  })
}

const SPANS: readonly (readonly [RegExp, string])[] = [
  [/["']?\binsecure[-_]registries["']?\s*[=:]\s*\[\s*[^\]\s]/g, 'docker-insecure-registry'],
  [/\[registries\.insecure\](?:[^[]*\n)?\s*registries\s*=\s*\[\s*[^\]\s]/g, 'registries-conf-insecure'],
  [/["']?\binsecure[-_]?[rR]egistries["']?:[ \t]*\n\s*-[ \t]*[^\s#]/g, 'docker-insecure-registry'],
]

function spans(text: string): readonly Found[] {
  return SPANS.flatMap(([pattern, rule]) =>
    [...text.matchAll(pattern)].map(({ 0: match, index }) => {
      const found = /[[\w"'-][\w"'.-]*\]?/.exec(match)?.[0] ?? ''
      return { offset: index, rule, found: found.slice(0, 60), remedy: DECLARE }
    }),
  )
}

function looksLikeYaml(text: string): boolean {
  return /^\s*[[{]/.test(text) || /^[ \t]*(?:- )?["']?[\w./-]+["']?:(?:[ \t]|\r?$)/m.test(text)
}

/** Environment variables of a Pod, and parameters of a Task: their value is another key of the same object. */
const VARIABLES: { readonly [name: string]: readonly [RegExp, string, string] } = {
  GIT_SSL_NO_VERIFY: [/^(?!(?:false|no|off|0|)$)/i, 'git-no-verify', 'GIT_SSL_CAINFO=FILE with the published bundle'],
  NODE_TLS_REJECT_UNAUTHORIZED: [/^0$/, 'runtime-no-verify', 'NODE_EXTRA_CA_CERTS=FILE with the published bundle'],
  PYTHONHTTPSVERIFY: [/^0$/, 'runtime-no-verify', 'SSL_CERT_FILE=FILE with the published bundle'],
}

const KEYS: readonly {
  readonly key: RegExp
  readonly value: RegExp
  readonly rule: string
  readonly remedy: string
  /** `kind` of the object, or the key above. */
  readonly below?: RegExp
}[] = [
  {
    key: /^insecure[-_]?registry$/i,
    value: /^(?!(?:false|no|off|0|)$)/i,
    rule: 'docker-insecure-registry',
    remedy: DECLARE,
  },
  {
    key: /^(?:tlsVerify|tls_verify|validate_certs|verify_ssl|ssl_verify|verifySsl|strict-ssl|enableStrictSsl)$/,
    value: OFF,
    rule: 'tls-verify-false',
    remedy: 'the CA of the host instead: the published bundle as its CA file',
  },
  {
    key: /^(?:plainHTTP|plainHttp|plain_http|allowInsecureRegistries)$/,
    value: ON,
    rule: 'plain-http',
    remedy: DECLARE,
  },
  {
    key: /^insecure$/,
    value: ON,
    below: /^(?:OCIRepository|HelmRepository|ImageRepository|Bucket)$/,
    rule: 'flux-insecure',
    remedy: 'certSecretRef with a Secret that has ca.crt',
  },
  {
    key: /^insecure$/,
    value: ON,
    below: /^stringData$/,
    rule: 'argocd-insecure',
    remedy: 'the CA in the ConfigMap argocd-tls-certs-cm',
  },
]

function inYaml(text: string, lineCounter: LineCounter): readonly Found[] {
  const found: Found[] = []
  for (const document of parseAllDocuments(text, { lineCounter, uniqueKeys: false })) {
    if ('empty' in document || document.errors.length > 0) continue
    visit(document, {
      Map(_, map, path) {
        found.push(...variables(map), ...settings(map, [kindOf(document.contents), keyAbove(path)]))
      },
    })
  }
  return found
}

function kindOf(contents: unknown): string {
  return isMap(contents) ? String(contents.get('kind') ?? '') : ''
}

function keyAbove(path: readonly unknown[]): string {
  const above = path.findLast((node) => isPair(node))
  return isPair(above) && isScalar(above.key) ? String(above.key.value) : ''
}

function variables(map: YAMLMap): readonly Found[] {
  const [name, value] = [map.get('name', true), map.get('value', true)]
  if (!isScalar(name) || !isScalar(value)) return []
  const [off, rule, remedy] = VARIABLES[String(name.value)] ?? []
  if (off === undefined || rule === undefined || remedy === undefined || !off.test(String(value.value))) return []
  return [{ offset: name.range?.[0] ?? 0, rule, found: String(name.value), remedy }]
}

function settings(map: YAMLMap, context: readonly string[]): readonly Found[] {
  return map.items.flatMap(({ key, value }): Found[] => {
    if (!isScalar(key)) return []
    const [name, offset] = [String(key.value), key.range?.[0] ?? 0]
    const isList = (isSeq(value) || isMap(value)) && value.items.length > 0
    if (/^insecure[-_]?registries$/i.test(name) && isList)
      return [{ offset, rule: 'docker-insecure-registry', found: name, remedy: DECLARE }]
    if (!isScalar(value)) return []
    const rule = KEYS.find(
      ({ key: like, value: off, below }) =>
        like.test(name) &&
        off.test(String(value.value ?? '')) &&
        (below === undefined || context.some((one) => below.test(one))),
    )
    return rule === undefined ? [] : [{ offset, rule: rule.rule, found: name, remedy: rule.remedy }]
  })
}

function lineStarts(text: string): readonly number[] {
  return [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)]
}
