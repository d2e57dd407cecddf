// Finds what switches certificate verification off, in manifests, scripts and configuration files of any kind, and
// names the way that keeps it on. Only the flag itself is ever repeated, never the line: a password may stand in it.
// This room: lint, the search for switched-off verification in files of any kind.
// Begin here; then structured.ts (settings over several lines), curl.ts (command lines), prose.ts, sarif.ts (output).
// May touch: nothing; the command reads the files.
import { insecureCurl } from './curl.ts'
import type { InsecureFlag } from './flag.ts'
import { isSaid, proseLines } from './prose.ts'
import { structuredFlags } from './structured.ts'

type Rule = {
  readonly rule: string
  readonly when: RegExp
  /** The line, or one of the few before it, must mention this. */
  readonly near?: RegExp
  readonly remedy: string
}

const VALUE_OFF = '["\']?(?:=|:|\\s)\\s*["\']?(?:false|False|FALSE|no|off|0)\\b'
const VALUE_ON = '["\']?\\s*(?:=|:)\\s*["\']?(?:true|True|TRUE|yes|on|1)\\b'
/** A switch that counts when it stands alone, and not when it is set to false. */
const SWITCH_END = '(?![\\w-])(?!["\']?\\s*[=:]\\s*["\']?(?:false|False|FALSE|0)\\b)'

const CERTS_D = '/etc/docker/certs.d/HOST/ca.crt, or declare HOST for the target docker'
const CONTAINERS_D =
  'nothing on a node where HOST is declared (its CA is in /etc/containers/certs.d); in a Task --cert-dir DIR with the published ca.crt'
const CURL = '--cacert FILE with the published bundle; nothing where the system store has the CA'

const RULES: readonly Rule[] = [
  {
    rule: 'kaniko-skip-tls-verify',
    when: new RegExp(`--skip-tls-verify(?:-pull|-registry)?${SWITCH_END}`),
    remedy: '--registry-certificate HOST=/etc/registry-trust/ca.crt, with the published ConfigMap mounted there',
  },
  {
    rule: 'kaniko-insecure',
    when: new RegExp(`--insecure(?:-pull|-registry)?${SWITCH_END}`),
    near: /kaniko|\/kaniko\/executor/,
    remedy: '--registry-certificate HOST=/etc/registry-trust/ca.crt; --insecure speaks plain HTTP',
  },
  {
    rule: 'tls-verify-false',
    when: new RegExp(`--(?:src-|dest-)?tls-verify${VALUE_OFF}`),
    remedy: CONTAINERS_D,
  },
  {
    rule: 'tls-verify-false',
    when: /\b(?:value|default)\s*:\s*["']?false\b/,
    near: /\bname\s*:\s*["']?(?:TLSVERIFY|TLS_VERIFY|tlsVerify)\b/,
    remedy: CONTAINERS_D,
  },
  {
    rule: 'containerd-skip-verify',
    when: new RegExp(`\\b(?:insecure_skip_verify|insecureSkipVerify|skip_verify|skipVerify)${VALUE_ON}`),
    remedy: 'the CA of the host: declare it in trust.yaml (containerd: ca = "ca.crt" in hosts.toml; k3s: tls.ca_file)',
  },
  {
    rule: 'docker-insecure-registry',
    when: /["']?insecure-registries["']?\s*:\s*\[\s*[^\]\s]|--insecure-registry(?![\w-])(?!=["']?(?:false|0)\b)/,
    remedy: CERTS_D,
  },
  {
    rule: 'registries-conf-insecure',
    when: /^\s*insecure\s*=\s*true\b/,
    remedy: 'nothing: declare HOST for the target containers, then take the line out of registries.conf',
  },
  { rule: 'curl-insecure', when: /^(?:-\s+)?-k$/, near: /\bcurl\b/, remedy: CURL },
  {
    rule: 'wget-no-check',
    when: /--no-check-certificate(?![\w-])/,
    remedy: '--ca-certificate FILE with the published bundle',
  },
  {
    rule: 'ctr-skip-verify',
    when: /\bctr\b[^|;&]*\s(?:-k|--skip-verify|--plain-http)(?![\w-])/,
    remedy: '--hosts-dir /etc/containerd/certs.d',
  },
  {
    rule: 'git-no-verify',
    when: new RegExp(
      `http\\.(?:[^\\s=]*\\.)?["']?\\.?sslVerify${VALUE_OFF}|\\bsslVerify\\s*=\\s*false\\b|(?<!name:\\s*["']?)\\bGIT_SSL_NO_VERIFY\\b(?!["']?\\s*[=:]\\s*["']?(?:0|false)\\b)`,
      'i',
    ),
    remedy: 'http.sslCAInfo=FILE, or GIT_SSL_CAINFO=FILE, with the published bundle',
  },
  {
    rule: 'skip-tls-verify',
    when: new RegExp(`--insecure-skip-tls-verify${SWITCH_END}|\\binsecure-skip-tls-verify${VALUE_ON}`),
    remedy: '--certificate-authority FILE (kubectl) or --ca-file FILE (helm)',
  },
  {
    rule: 'client-insecure',
    when: new RegExp(
      `\\b(?:g?crane|oras|trivy|grype|syft|notation|regbot|flux|ko|helm|docker\\s+manifest\\s+\\w+|oc\\s+(?:import-image|tag|image\\s+\\w+))\\b[^|;&]*\\s--insecure${SWITCH_END}`,
    ),
    remedy: 'SSL_CERT_FILE=FILE with the published bundle, or the CA option of the program',
  },
  {
    rule: 'plain-http',
    when: new RegExp(`--plain-http${SWITCH_END}`),
    remedy: 'nothing: speak TLS, and declare the CA of the host in trust.yaml',
  },
  {
    rule: 'client-insecure',
    when: new RegExp(`--registry-insecure${SWITCH_END}|--registry-verify-certs${VALUE_OFF}`),
    remedy: '--registry-ca-cert-path FILE',
  },
  {
    rule: 'client-insecure',
    when: /\bregctl\b[^|;&]*\s--tls[= ]["']?(?:disabled|insecure)\b/,
    remedy: '--cacert FILE',
  },
  {
    rule: 'buildkit-insecure',
    when: /\bregistry\.insecure=["']?true\b/,
    remedy: 'ca = ["FILE"] of the registry in buildkitd.toml',
  },
  {
    rule: 'gitlab-runner-tls-verify',
    when: /^\s*(?:tls_verify|tlsVerify)\s*=\s*false\b/,
    remedy: 'tls-ca-file, or the CA in the certs folder of the runner',
  },
  {
    rule: 'package-manager-insecure',
    when: /\bpip3?\b[^|;&]*\s--trusted-host\b|^\s*trusted-host\s*=\s*\S|\bglobal\.trusted-host\s+\S|\b(?:npm|yarn|pnpm)\s+config\s+set\s+(?:-\S+\s+)*["']?strict-ssl["']?[ =]["']?false\b|^\s*strict-ssl\s*=\s*false\b|\bNPM_CONFIG_STRICT_SSL["']?\s*[=:]\s*["']?false\b|\b(?:conda|mamba)\s+config\s+--set\s+ssl_verify\s+(?:no|false)\b|-Dmaven\.wagon\.http\.ssl\.insecure=true\b|Verify-Peer\s+["']?false\b|^\s*sslverify\s*=\s*(?:0|false|no)\b/i,
    remedy: 'the published bundle: PIP_CERT, npm config set cafile, ssl_verify: FILE, Acquire::https::CAInfo',
  },
  {
    rule: 'runtime-no-verify',
    when: /\bInsecureSkipVerify\s*:\s*true\b|\bverify\s*=\s*False\b|-SkipCertificateCheck\b|\bcheck_certificate\s*=\s*off\b|\bGOINSECURE["']?\s*[=:]\s*["']?[\w*]/,
    remedy: 'SSL_CERT_FILE=FILE with the published bundle, or the CA in the system store',
  },
  {
    rule: 'allow-insecure-registry',
    when: new RegExp(`--allow-(?:insecure|http)-registry${SWITCH_END}`),
    remedy: '--registry-cacert FILE, or SSL_CERT_DIR with the published CA files',
  },
  {
    rule: 'runtime-no-verify',
    when: /\bNODE_TLS_REJECT_UNAUTHORIZED["']?\s*[=:]\s*["']?0\b|\bPYTHONHTTPSVERIFY["']?\s*[=:]\s*["']?0\b/,
    remedy: 'NODE_EXTRA_CA_CERTS=FILE, or SSL_CERT_FILE=FILE, with the published bundle',
  },
]

/** So far back a list of arguments may name its program. */
const NEAR_LINES = 12
const IGNORE = /registry-trust:\s*ignore\b/
const COMMENT = /^\s*(?:#(?!!)|\/\/)/

/** `path` tells pages, whose sentences are not looked at, from configuration. */
export function findInsecureFlags(text: string, path = ''): readonly InsecureFlag[] {
  const lines = logicalLines(text)
  const prose = proseLines(text.split('\n'), path)
  const ofLines = lines.flatMap((line, index) => (prose.has(line.number) ? [] : inLine(line, index, lines)))
  const ignored = (number: number) => prose.has(number) || IGNORE.test(text.split('\n')[number] ?? '')
  const more = structuredFlags(text, withoutComments(text)).filter(
    ({ line, rule }) => !ignored(line - 1) && !ofLines.some((one) => one.line === line && one.rule === rule),
  )
  const unique = more.filter(
    (flag, index) => more.findIndex(({ line, rule }) => line === flag.line && rule === flag.rule) === index,
  )
  return [...ofLines, ...unique].toSorted((a, b) => a.line - b.line || a.column - b.column)
}

type Line = { readonly text: string; readonly number: number }

/** A line that ends with a backslash goes on in the next one: a command of a shell or a Dockerfile. */
function logicalLines(text: string): readonly Line[] {
  const lines: Line[] = []
  let open: Line | undefined
  text.split(/\r?\n/).forEach((line, number) => {
    const begun: Line = open === undefined ? { text: line, number } : { ...open, text: `${open.text}\n${line}` }
    if (/\\\s*$/.test(line) && !COMMENT.test(line)) open = begun
    else {
      lines.push(begun)
      open = undefined
    }
  })
  return open === undefined ? lines : [...lines, open]
}

function inLine({ text: whole, number }: Line, index: number, lines: readonly Line[]): readonly InsecureFlag[] {
  if (COMMENT.test(whole) || IGNORE.test(whole)) return []
  const line = whole.replace(/\\\s*\n/g, '  ').replace(/\s#\s.*$/, '')
  const plain = withoutPunctuation(line)
  const found = new Map<string, InsecureFlag>()
  const note = (rule: string, words: string, remedy: string) => {
    // Two programs may share a flag: the more particular rule comes first.
    if (found.has(rule) || [...found.values()].some((other) => other.found === words)) return
    const at = Math.max(whole.indexOf(words.split(/\s/)[0] ?? ''), 0)
    if (isSaid(line, whole.slice(0, at))) return
    const above = whole.slice(0, at).split('\n')
    const column = (above.at(-1)?.length ?? 0) + 1
    found.set(rule, { line: number + above.length, column, rule, found: words, remedy })
  }
  const curl = insecureCurl(plain)
  for (const { rule, when, near, remedy } of RULES) {
    const match = when.exec(line) ?? when.exec(plain) ?? when.exec(plain.trim())
    if (match === null) continue
    const before = lines.slice(Math.max(0, index - NEAR_LINES), index + 1)
    if (near !== undefined && !before.some((one) => near.test(one.text) && !COMMENT.test(one.text))) continue
    note(rule, lastWords(match[0]), remedy)
  }
  if (curl !== undefined) note('curl-insecure', curl, CURL)
  return [...found.values()]
}

/** Comments blanked, at the same offsets. */
function withoutComments(text: string): string {
  return text.replace(/^[ \t]*(?:#(?!!)|\/\/).*$/gm, (comment) => ' '.repeat(comment.length))
}

/** `["curl", "-k"]` reads like `curl -k`. */
function withoutPunctuation(line: string): string {
  return line.replace(/["'[\],]+/g, ' ').replace(/\s+/g, ' ')
}

/** The flag alone: what stands between a program and its flag may be secret. */
function lastWords(match: string): string {
  const words = match.trim().split(/\s+/)
  const from = words.findLastIndex((word) => word.startsWith('-'))
  return (from < 0 ? match : words.slice(words[from] === '-' ? from + 1 : from).join(' ')).trim().slice(0, 60)
}
