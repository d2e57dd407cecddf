// Values that must never be printed, and the removal of secrets from text that came from elsewhere.
// A Secret gives its value only to `reveal`: string conversion, JSON and inspection answer "[redacted]".

export const REDACTED = '[redacted]'

export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  reveal(): string {
    return this.#value
  }

  toString(): string {
    return REDACTED
  }

  toJSON(): string {
    return REDACTED
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return REDACTED
  }
}

// The greedy [^\s/]* matters: a password may itself hold "@", only the last one ends it.
const USER_INFO: readonly (readonly [RegExp, string])[] = [
  [/([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/"'<>]*@/gi, `$1${REDACTED}@`],
  // A password with a slash in it; `host:5000/` is a port.
  [/([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/:@"'<>]{1,256}:(?!\d{1,5}\/)[^\s@"'<>]{1,256}@/gi, `$1${REDACTED}@`],
  // Without a scheme, but not the digest of an image.
  [/(^|[\s"'=/(])[\w.%+-]{1,64}:[^\s/@:"'<>]{1,256}@(?!sha(?:256|512):)(?=[\w[])/g, `$1${REDACTED}@`],
]

/** Quotes as they stand in JSON, and in JSON within JSON. */
const QUOTE = String.raw`\\{0,3}["']`
/** Names of values that are secrets wherever they stand. */
const NAMED = '(?:passw(?:or)?d|passphrase|secret|(?:access|refresh|identity|registry|id|auth)[_-]?token|api[_-]?key)'
const HEADERS =
  '(?:proxy-)?authorization|x-registry-(?:auth|config)|x-jfrog-art-api|(?:set-)?cookie|(?:x|private|job|deploy)-(?:[a-z]{1,20}-)?(?:token|key|auth)'
/** What tells a credential from prose: a digit, a capital inside, padding. */
const NO_PROSE = String.raw`(?=\S{0,200}?(?:\d|[a-z][A-Z]|=))`

const PATTERNS: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY)-----[\s\S]*?(?:-----END \1-----|$)/g, REDACTED],
  // A JSON web token, by its form alone.
  [/\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*/g, REDACTED],
  ...USER_INFO,
  [/(%3A%2F%2F)[^\s"'<>&]{1,512}?%40/gi, `$1${REDACTED}%40`],
  // One cookie follows another in the same line.
  [/\b((?:set-)?cookie:\s{0,9})[^\r\n"']+/gi, `$1${REDACTED}`],
  [
    new RegExp(
      String.raw`\b((?:${HEADERS})${QUOTE}?\s{0,9}[:=]\s{0,9}[[{(]{0,3}(?:${QUOTE})?)(?:(?:bearer|basic|digest|negotiate|token)\s+)?[^\s"',}\]\\]+`,
      'gi',
    ),
    `$1${REDACTED}`,
  ],
  [/\b([Bb]earer|[Bb]asic)\s+(?![a-z_]+=")(?=\S*(?:\d|[a-z][A-Z]|=))[A-Za-z0-9._~+/=-]{6,}/g, `$1 ${REDACTED}`],
  [
    /([?&;][\w.-]{0,40}(?:token|passw(?:or)?d|pwd|secret|sig|signature|credential|api[_-]?key|accesskeyid)=)[^&\s"']+/gi,
    `$1${REDACTED}`,
  ],
  [/([?&;](?:key|code|auth)=)[^&\s"']+/gi, `$1${REDACTED}`],
  // "token" alone is a word of prose, save in JSON.
  [
    new RegExp(String.raw`(${QUOTE}(?:auth|token|[\w-]{0,40}${NAMED})${QUOTE}\s{0,9}:\s{0,9}${QUOTE})[^"'\\]+`, 'gi'),
    `$1${REDACTED}`,
  ],
  [new RegExp(String.raw`\b([\w-]{0,40}${NAMED}(?:=|%3D)${QUOTE}?)[^\s"'&,;}\\]+`, 'gi'), `$1${REDACTED}`],
  [new RegExp(String.raw`\b([\w-]{0,40}(?i:${NAMED}):\s{1,9}${QUOTE}?)${NO_PROSE}[^\s"',;}\\]+`, 'g'), `$1${REDACTED}`],
  [/\b(token=)[^\s"'&,;}\\]+/gi, `$1${REDACTED}`],
  [/\b(auth\s{0,9}=\s{0,9}["'])[^"']+/gi, `$1${REDACTED}`],
  // A variable of a process: REGISTRY_PASS=…, ARTIFACTORY_TOKEN=…
  [/\b([A-Z][A-Z0-9_]{0,60}(?:PASS|PWD|TOKEN|SECRET|KEY|AUTH|CREDS|CREDENTIALS)=["']?)[^\s"',;]+/g, `$1${REDACTED}`],
  [/(\slogin\s[^\r\n]{0,500}?\s-p[ =]?)\S+/g, `$1${REDACTED}`],
  [/(\s(?:-u|--user)[ =]["']?[\w.%+-]{1,64}:)[^\s"']+/g, `$1${REDACTED}`],
  [/(--(?:password|passphrase|token|secret|api-key)[ =])\S+/gi, `$1${REDACTED}`],
]

/** Text as received, without what is recognisably a secret in it: URL user info, authorization values, private keys. */
export function redactText(text: string): string {
  return without(PATTERNS, text)
}

function without(patterns: typeof PATTERNS, text: string): string {
  let clean = text
  for (const [pattern, replacement] of patterns) clean = clean.replace(pattern, replacement)
  return clean
}

/** Text from somebody who was given the secrets, without them: as they are, encoded for a URL, and in Base64. */
export function redactKnown(text: string, secrets: readonly string[]): string {
  const forms = secrets
    .filter((secret) => secret.length >= SHORTEST_KNOWN)
    .flatMap((secret) => [secret, encodeURIComponent(secret), Buffer.from(secret).toString('base64')])
    .toSorted((a, b) => b.length - a.length)
  return forms.reduce((clean, form) => clean.replaceAll(form, REDACTED), text)
}

/** A shorter one stands in ordinary words, which would tell it. */
const SHORTEST_KNOWN = 4

/** `https://user:password@host`, with a scheme or without, without user and password; all else as it is. */
export function redactUserInfo(text: string): string {
  return without(USER_INFO, text)
}

/** Names whose value is a secret wherever they stand; compared in lower case without separators. */
const SECRET_NAME =
  /passw|passphrase|secret|token|credential|cookie|apikey|privatekey|clientkey|accesskey|signingkey|dockerconfig|dockercfg|authorization|kubeconfig/
const SECRET_EXACTLY: ReadonlySet<string> = new Set([
  'auth',
  'auths',
  'key',
  'keys',
  'keypem',
  'keydata',
  'pass',
  'pwd',
  'pin',
  'bearer',
])

export function isSecretName(name: string): boolean {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '')
  return (
    SECRET_NAME.test(plain) ||
    SECRET_EXACTLY.has(plain) ||
    /[a-z](?:Auth|Key|Pass)$|[._-](?:auth|key|pass|AUTH|KEY|PASS)$/.test(name)
  )
}
