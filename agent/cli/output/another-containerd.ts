// The text and the JSON of `plan --with-containerd`, and its exit code.
import { provesTrust } from '../../model/finding.ts'
import type { Rehearsal } from '../../model/plan.ts'
import type { AnotherContainerd } from '../../reconcile/run/another-containerd.ts'
import { changeRows } from './run.ts'
import { formatProblems } from './status.ts'
import { type Cell, harmless, type Paint, table } from './terminal.ts'

export function anotherContainerdJson({ changes, ...rest }: AnotherContainerd) {
  return { ...rest, changes: changeRows(changes) }
}

export function formatAnotherContainerd(found: AnotherContainerd, paint: Paint): string {
  const { version, binary, now, afterwards, ignored, defects, changes, problems } = found
  const rows: Cell[][] = changeRows(changes).map(({ action, path, reason }) => [action, path, reason])
  return [
    `containerd ${version} (${harmless(binary)}) on the files of this node\n`,
    `as they are now: ${verdict(now, paint)}`,
    ...ignored.map(({ table: name, reason }) => `  ignores ${harmless(name)}: ${harmless(reason)}\n`),
    rows.length === 0
      ? '`apply` would change nothing for it\n'
      : `\`apply\` would change\n${table(rows, { indent: 2, paint })}`,
    rows.length === 0 ? '' : `after that: ${verdict(afterwards, paint)}`,
    formatProblems(problems, paint),
    ...defects.map(
      ({ id, effect, remedy, source }) => `known defect ${id}: ${effect}\n  fix: ${remedy}\n  ${source}\n`,
    ),
  ].join('')
}

function verdict(rehearsal: Rehearsal, paint: Paint): string {
  if (rehearsal.verdict === 'failed') return `${paint('red', 'it refuses them')}: ${harmless(rehearsal.reason)}\n`
  if (rehearsal.verdict !== 'passed') return `${paint('yellow', 'not tried')}: ${harmless(rehearsal.reason)}\n`
  const rows: Cell[][] = rehearsal.proofs.map(({ host, finding }) => [host, finding.code])
  return `${paint('green', 'it loads them')}\n${table(rows, { indent: 2, paint })}`
}

/** 0 every registry is trusted as it is, 2 after `apply`, 1 it is not, or could not be tried. */
export function anotherContainerdExit({ now, afterwards, problems }: AnotherContainerd): number {
  if (isGood(now)) return 0
  return isGood(afterwards) && problems.length === 0 ? 2 : 1
}

function isGood(rehearsal: Rehearsal): boolean {
  return rehearsal.verdict === 'passed' && rehearsal.proofs.every(({ finding }) => provesTrust(finding.code))
}
