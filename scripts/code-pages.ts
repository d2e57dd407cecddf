// Writes docs/errors.md and docs/findings.md from the tables of the code, so that each code has its meaning, causes and
// remedy on a page.
// usage: node scripts/code-pages.ts (a test says when it has to be run)
import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { DEPRECATIONS } from '../agent/containerd/deprecations.ts'
import { ERRORS, type ErrorCode } from '../agent/model/errors.ts'
import { breaksTrust, FINDINGS, type FindingCode, provesTrust } from '../agent/model/finding.ts'
import { ERROR_TEXTS } from './code-pages/error-texts.ts'
import { FINDING_TEXTS, type Text } from './code-pages/finding-texts.ts'

const NOTE = '<!-- written by scripts/code-pages.ts -->'

/** The pages by their path in the repository. */
export function codePages(): ReadonlyMap<string, string> {
  return new Map([
    ['docs/errors.md', errorsPage()],
    ['docs/findings.md', findingsPage()],
  ])
}

function errorsPage(): string {
  const rows = (Object.keys(ERRORS) as ErrorCode[]).map((code) => {
    const { remedy, retryable } = ERRORS[code]
    return row(code, ERROR_TEXTS[code], remedy, retryable ? 'yes' : 'no', exitOf(code))
  })
  return `${NOTE}
# Error codes

Each error of the agent has one of these codes. It is in the log (\`code\`), in \`/status\` (\`problems\`, \`warnings\`), in
\`--json\` output, and in the label \`code\` of the metric \`registry_trust_problems\`.

- *again*: whether trying again, without any change, can help.
- *exit*: the exit code of a command that ends with this error. If a problem does not keep the rest of a run from being
  done, \`plan\` ends with 2 and \`apply\` with 3.

| code | meaning | likely causes | remedy | again | exit |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
`
}

function exitOf(code: ErrorCode): string {
  if (code === 'USAGE') return '64'
  return code === 'ROLLBACK_INCOMPLETE' ? '5' : '1'
}

function findingsPage(): string {
  const rows = (Object.keys(FINDINGS) as FindingCode[]).map((code) =>
    row(
      code,
      FINDING_TEXTS[code],
      FINDINGS[code],
      trustOf(code),
      code === 'trusted' || code === 'registry-warning' ? '0' : '3',
    ),
  )
  const deprecations = Object.entries(DEPRECATIONS).map(
    ([id, { meaning, remedy }]) => `| \`${id}\` | ${cell(meaning)} | ${cell(remedy)} |`,
  )
  return `${NOTE}
# Finding codes

A finding is what a proof, \`probe\` or \`explain\` says about a registry. Its code is also the label \`code\` of the metrics
\`registry_trust_registry_finding\` and \`registry_trust_proofs_total\`.

- *trust*: \`proved\` counts as trusted in \`registry_trust_registry_trusted\`; if a change of the agent caused \`lost\`, the
  change is undone; \`open\` says nothing about trust.
- *exit*: the exit code of \`explain\`. \`probe\` ends with 0 if TLS is trusted.

| code | meaning | likely causes | remedy | trust | exit |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

# Deprecations of containerd

containerd reports these with the prefix \`io.containerd.deprecation/\`. \`doctor\` shows them, and the id is the label \`id\` of
\`registry_trust_containerd_deprecations\`.

| id | meaning | remedy |
| --- | --- | --- |
${deprecations.join('\n')}
`
}

function trustOf(code: FindingCode): string {
  if (provesTrust(code)) return 'proved'
  return breaksTrust(code) ? 'lost' : 'open'
}

function row(code: string, { meaning, causes }: Text, remedy: string, ...more: readonly string[]): string {
  return `| \`${code}\` | ${[meaning, causes, remedy, ...more].map(cell).join(' | ')} |`
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  for (const [path, page] of codePages()) writeFileSync(new URL(`../${path}`, import.meta.url), page)
