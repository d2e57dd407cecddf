// What a name means in a hosts file, judged by glibc's own reader (getent), which as root sees generated files as
// /etc/hosts; REGISTRY_TRUST_FULL=1 asks it about 1,000 of them.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { entriesNaming } from '../../agent/text/hosts-file.ts'
import { hostsFile, NAME } from '../fixtures/text/hosts-file.ts'

t.test('glibc resolves a name to the addresses of the same lines', { timeout: 120_000 }, async (t) => {
  const runs = process.env['REGISTRY_TRUST_FULL'] === '1' ? 1000 : 60
  // glibc matches a name letter by letter but for its case: a dot at the end is another name, which Go takes for the same.
  // And glibc 2.36 skips a last line that begins with a space and has no line end.
  const files = fc
    .sample(hostsFile, runs)
    .map((one) => one.replaceAll(`${NAME}.`, NAME).replace(/\n\s+([^\n]+)$|^\s+([^\n]+)$/, '\n$1$2'))
  const folder = t.testdir()
  for (const [index, one] of files.entries()) writeFileSync(`${folder}/${index}`, Buffer.from(one, 'latin1'))
  writeFileSync(`${folder}/host.conf`, 'multi on\n')
  const script = `mount --bind "$1/host.conf" /etc/host.conf || exit 9
for i in $(seq 0 $(($2 - 1))); do
  mount --bind "$1/$i" /etc/hosts || exit 9
  echo "$i $(getent -s files ahosts ${NAME} | cut -d" " -f1 | sort -u | tr "\\n" " ")"
  umount /etc/hosts
done`
  const answer = execFileSync('unshare', ['-m', 'sh', '-c', script, 'sh', folder, String(runs)], { encoding: 'utf8' })
  const lines = answer.trimEnd().split('\n')
  t.equal(lines.length, runs)
  let named = 0
  for (const [index, file] of files.entries()) {
    const theirs = (lines[index] ?? '').trim().split(' ').slice(1)
    const mine = [...new Set(entriesNaming(file, new Set([NAME])).map(({ address }) => address))]
    named += mine.length
    if (JSON.stringify(theirs.toSorted()) !== JSON.stringify(mine.toSorted()))
      t.same(theirs.toSorted(), mine.toSorted(), JSON.stringify(file))
  }
  t.ok(named > runs / 4, `${named} addresses`)
})
