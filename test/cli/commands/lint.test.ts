import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

const MAIN = join(import.meta.dirname, '../../../agent/main.ts')

function lint(...argv: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'lint', ...argv], { encoding: 'utf8' })
  return { status, stdout, stderr }
}

t.test('a folder is walked, and each place is told with what to write instead', async (t) => {
  const folder = t.testdir({
    'task.yaml': 'args:\n  - --skip-tls-verify\n',
    deep: {
      'build.sh': 'buildah push --tls-verify=false x\n',
      image: `${Buffer.from([0, 1]).toString()}--tls-verify=false`,
    },
    node_modules: { x: '--tls-verify=false' },
  })
  const { status, stdout } = lint(folder)
  t.equal(status, 3)
  t.match(
    stdout,
    'task.yaml:2:5 --skip-tls-verify (kaniko-skip-tls-verify)\n  write instead: --registry-certificate HOST=',
  )
  t.match(stdout, /2 places in 3 files\n$/)
  const json = lint('--json', folder)
  t.equal(json.status, 3)
  t.match(JSON.parse(json.stdout), [
    { rule: 'tls-verify-false', line: 1 },
    { rule: 'kaniko-skip-tls-verify', line: 2 },
  ])
})

t.test('nothing found is 0, a path that is not there an error', async (t) => {
  t.match(lint(t.testdir({ 'a.yaml': 'a: b' })), { status: 0, stdout: '0 places in 1 file\n' })
  t.match(lint('/does/not/exist'), {
    status: 1,
    stderr: /there is no such file or folder\n {2}Name a file or folder that exists/,
  })
  t.equal(lint().status, 64)
})

t.test('what the project itself ships is clean', async (t) => {
  const { status, stdout } = lint(join(import.meta.dirname, '../../../daemonset'))
  t.equal(status, 0, stdout)
})
