// Completion, asked of bash itself, and the manual page: both know every command and flag, because they are made from
// the same table.
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
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

/** `lookFor` is what the shell adds to the line at the first TAB. */
const FIRST_TAB = [
  ['un', 'install'],
  ['plan --log-l', 'evel'],
  ['plan --log-level d', 'ebug'],
  ['completion z', 'sh'],
] as const

withShell('zsh', 'at the first TAB, as a file of fpath and sourced', async (t) => {
  const home = t.testdir({ fpath: { '_registry-trust': completionScript('zsh') }, empty: {} })
  const file = join(home, 'fpath/_registry-trust')
  const asFile = `fpath=('${home}/fpath' $fpath); autoload -Uz compinit; compinit -u -D`
  const sourced = `autoload -Uz compinit; compinit -u -D; . '${file}'`
  const tried = [...FIRST_TAB.map((row) => [asFile, ...row] as const), [sourced, ...FIRST_TAB[0]] as const]
  for (const [load, line, lookFor] of tried) {
    const ask = `zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "cd '${home}/empty'; PS1=; ${load.replaceAll('$', '\\$')}; print READ''Y"
zpty -r -m shell seen '*READY*'
zpty -w -n shell $'registry-trust ${line}\t'
zpty -r -m shell seen '*${lookFor}*'`
    const seen = promisify(execFile)('zsh', ['-f', '-c', ask], { cwd: home, timeout: 20_000 })
    await t.resolves(seen, `${line}: ${load}`)
  }
})

withShell('fish', 'commands, flags, their values and operands', async (t) => {
  const home = t.testdir({ 'registry-trust.fish': completionScript('fish'), empty: {} })
  for (const [line, lookFor] of FIRST_TAB) {
    const ask = `source ../registry-trust.fish; complete --do-complete 'registry-trust ${line}'`
    const options = { cwd: join(home, 'empty'), env: { ...process.env, HOME: home }, timeout: 20_000 }
    const { stdout } = await promisify(execFile)('fish', ['--no-config', '--command', ask], options)
    const offered = stdout
      .split('\n')
      .filter(Boolean)
      .map((row) => row.split('\t')[0])
    t.same(offered, [`${line.split(' ').at(-1)}${lookFor}`], line)
  }
})

/** A shell that is not everywhere: where there is none it is said aloud and counted as skipped. */
function withShell(shell: 'zsh' | 'fish', title: string, body: (t: Test) => Promise<void>): void {
  const isHere = spawnSync(shell, ['--version']).status === 0
  const skip = isHere ? false : `there is no ${shell} here: apt-get install ${shell}`
  if (!isHere) process.stderr.write(`# NOT TESTED: ${shell} offers ${title}: ${String(skip)}\n`)
  t.test(`${shell} offers ${title}`, { skip }, body)
}

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
