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
const USER_INFO = [/([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/"'<>]*@/gi, `$1${REDACTED}@`] as const

const PATTERNS: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY)-----[\s\S]*?(?:-----END \1-----|$)/g, REDACTED],
  USER_INFO,
  [/\b(authorization["']?\s*[:=]\s*["']?)(?:(?:bearer|basic)\s+)?[^\s"',}]+/gi, `$1${REDACTED}`],
  // A digit, a capital inside or padding tells a credential from prose: "basic constraints", "bearer authentication".
  [/\b([Bb]earer|[Bb]asic)\s+(?![a-z_]+=")(?=\S*(?:\d|[a-z][A-Z]|=))[A-Za-z0-9._~+/=-]{6,}/g, `$1 ${REDACTED}`],
  [/([?&](?:access_token|token|password|secret|sig|signature|x-amz-signature)=)[^&\s"']+/gi, `$1${REDACTED}`],
  [/("(?:auth|password|identitytoken|registrytoken)"\s*:\s*")[^"]*/gi, `$1${REDACTED}`],
]

/** Text as received, without what is recognisably a secret in it: URL user info, authorization values, private keys. */
export function redactText(text: string): string {
  let clean = text
  for (const [pattern, replacement] of PATTERNS) clean = clean.replace(pattern, replacement)
  return clean
}

/** `https://user:password@host` without user and password; all else as it is. */
export function redactUserInfo(text: string): string {
  return text.replace(...USER_INFO)
}

/** Names whose value is a secret wherever they stand; compared in lower case without separators. */
const SECRET_NAME =
  /passw(or)?d|passphrase|secret|token|credential|cookie|apikey|privatekey|clientkey|accesskey|signingkey|dockerconfig|dockercfg|authorization|kubeconfig/
const SECRET_EXACTLY: ReadonlySet<string> = new Set([
  'auth',
  'auths',
  'key',
  'keys',
  'keypem',
  'keydata',
  'pwd',
  'pin',
  'bearer',
])

export function isSecretName(name: string): boolean {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '')
  return SECRET_NAME.test(plain) || SECRET_EXACTLY.has(plain) || /[a-z](Auth|Key)$|[._-](auth|key)$/.test(name)
}
