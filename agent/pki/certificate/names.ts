// The names that a certificate is valid for (RFC 5280, 4.2.1.6).

export type SubjectNames = {
  readonly dns: readonly string[]
  /** 4 or 16 bytes each. */
  readonly addresses: readonly Buffer[]
  readonly emails: readonly string[]
  readonly uris: readonly string[]
}
