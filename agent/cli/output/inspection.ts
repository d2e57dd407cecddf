// What `inspect` reports about one file.
import type { Problem } from '../../model/errors.ts'
import type { Encoding } from '../../pki/decode/decode.ts'

/** One file, as `inspect --json` shows it. */
export type Inspection = {
  readonly file: string
  /** Outermost first. */
  readonly encoding: readonly Encoding[]
  readonly certificates: readonly {
    readonly subject: string
    readonly issuer: string
    readonly fingerprint: string
    readonly notBefore: string
    readonly notAfter: string
    readonly isCa: boolean
  }[]
  readonly findings: readonly Problem[]
}
