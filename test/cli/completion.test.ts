// Completion, asked of bash itself, and the manual page: both know every command and flag, because they are made from
// the same table.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { appliesTo, COMMAND_NAMES, FLAG_NAMES } from '../../agent/cli/command-line/flags.ts'
import { manPage } from '../../agent/cli/completion/man.ts'
import { completionScript, SHELLS } from '../../agent/cli/completion/shells.ts'

const folder = t.testdir({ 'trust.yaml': '', 'team.yaml': '' })
const SCRIPT = join(folder, 'completion.bash')
writeFileSync(SCRIPT, completionScript('bash'))

/** What bash offers for the last word. */
function offers(...words: readonly string[]): readonly string[] {
  const quoted = ['registry-trust', ...words].map((word) => `'${word}'`).join(' ')
  const ask = `. '${SCRIPT}'; COMP_WORDS=(${quoted}); COMP_CWORD=${words.length}; _registry_trust; printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-euc', ask], { cwd: folder, encoding: 'utf8' }).split('\n').filter(Boolean)
}

t.test('bash offers the commands, and for each of them its own flags', async (t) => {
  t.same(offers('').toSorted(), [...COMMAND_NAMES, 'help', '--help', '--version'].toSorted())
  t.same(offers('un'), ['uninstall'])
  for (const command of COMMAND_NAMES) {
    const expected = [...FLAG_NAMES.filter((name) => appliesTo(name, command)).map((name) => `--${name}`), '--help']
    t.same(offers(command, '--').toSorted(), expected.toSorted(), command)
  }
})

t.test('bash offers the values that a flag has, and files where it names one', async (t) => {
  t.same(offers('plan', '--log-level', ''), ['debug', 'info', 'warn', 'error'])
  t.same(offers('plan', '--log-format', 'j'), ['json'])
  t.same(offers('plan', '--config', 't').toSorted(), ['team.yaml', 'trust.yaml'])
  t.same(offers('inspect', 'tr'), ['trust.yaml'])
  t.same(offers('completion', 'z'), ['zsh'])
})

t.test('every script names every command and flag', async (t) => {
  for (const shell of SHELLS) {
    const script = completionScript(shell)
    for (const name of COMMAND_NAMES) t.match(script, name, `${shell}: ${name}`)
    for (const name of FLAG_NAMES) t.match(script, name, `${shell}: --${name}`)
  }
})

t.test('so does the manual page, and no text in it becomes a request', async (t) => {
  const page = manPage('0.1.0')
  const plain = page.replaceAll('\\-', '-')
  for (const name of COMMAND_NAMES) t.match(plain, `.B ${name}`)
  for (const name of FLAG_NAMES) t.match(plain, `.B --${name}`)
  const requests = new Set([...page.matchAll(/^[.'](\S*)/gm)].map(([, request]) => request))
  t.same([...requests].toSorted(), ['B', 'I', 'SH', 'TH', 'TP', 'br', 'sp'])
  t.match(page, /^[\n -~]*$/, 'a reader that takes it for Latin-1 shows the same')
})
