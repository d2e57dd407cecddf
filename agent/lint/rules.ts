// Finds what switches certificate verification off, in manifests, scripts and configuration files of any kind, and names the way that
// keeps it on. Pure and by the line: the same flag stands in YAML, in shell and in JSON. Only the flag itself is ever repeated, never the
// line: a password may stand in it.

export type InsecureFlag = {
  readonly line: number
  readonly column: number
  readonly rule: string
  /** The words that were found. */
  readonly found: string
  /** What to write instead. */
  readonly remedy: string
}

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
    when: /["']?insecure-registries["']?\s*:\s*\[\s*[^\]\s]|--insecure-registry(?![\w-])/,
    remedy: CERTS_D,
  },
  {
    rule: 'registries-conf-insecure',
    when: /^\s*insecure\s*=\s*true\b/,
    remedy: 'nothing: declare HOST for the target containers, then take the line out of registries.conf',
  },
  {
    rule: 'curl-insecure',
    when: /\bcurl\b[^|;&]*\s(?:-[fsSLvigGIjJlnNOpqRZ0-9a#]*k[A-Za-z]*|--insecure)(?![\w-])/,
    remedy: CURL,
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
      `http\\.(?:[^\\s=]*\\.)?sslVerify${VALUE_OFF}|\\bsslVerify\\s*=\\s*false\\b|\\bGIT_SSL_NO_VERIFY\\b(?!["']?\\s*[=:]\\s*["']?(?:0|false)\\b)`,
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

export function findInsecureFlags(text: string): readonly InsecureFlag[] {
  const lines = text.split(/\r?\n/)
  return lines.flatMap((line, index) => {
    if (COMMENT.test(line) || IGNORE.test(line)) return []
    const plain = withoutPunctuation(line)
    const found = new Map<string, InsecureFlag>()
    for (const { rule, when, near, remedy } of RULES) {
      if (found.has(rule)) continue
      const match = when.exec(line) ?? when.exec(plain) ?? when.exec(plain.trim())
      if (match === null) continue
      if (
        near !== undefined &&
        !lines.slice(Math.max(0, index - NEAR_LINES), index + 1).some((one) => near.test(one) && !COMMENT.test(one))
      )
        continue
      const words = lastWords(match[0])
      // Two programs may share a flag: the more particular rule comes first.
      if ([...found.values()].some((other) => other.found === words)) continue
      const at = line.indexOf(words.split(/\s/)[0] ?? '')
      found.set(rule, { line: index + 1, column: Math.max(at, 0) + 1, rule, found: words, remedy })
    }
    return [...found.values()]
  })
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
