// The file that a person asked for: new, for its owner alone, and never in place of what is there.
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { outputFile } from '../../../agent/node/files/output-file.ts'

t.test('a file that exists, or a link, stays as it is; a new one is for its owner alone', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rt-output-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [file, link, elsewhere] = [join(folder, 'file'), join(folder, 'link'), join(folder, 'elsewhere')]
  await outputFile(file, Buffer.from('first'))
  t.equal(statSync(file).mode & 0o777, 0o600)
  symlinkSync(elsewhere, link)
  for (const taken of [file, link])
    await t.rejects(outputFile(taken, Buffer.from('second')), { code: 'WRITE_FAILED', message: /it exists already/ })
  t.equal(readFileSync(file, 'utf8'), 'first')
  t.throws(() => statSync(elsewhere), { code: 'ENOENT' }, 'nothing is written through the link')
})
