// One line of a table that names what a failed pull means.
import type { FindingCode } from '../../model/finding.ts'

export type Rule = {
  readonly when: RegExp
  readonly code: FindingCode
  /** `HOST` is replaced by the host that failed, `$1` … by the groups of `when`. */
  readonly message: string
}
