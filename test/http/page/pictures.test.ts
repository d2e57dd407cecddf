// The pictures in the documents show the pages as they are.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { digestsOf, pictures, recordedDigests } from '../../../scripts/screenshots.ts'

const IMAGES = join(import.meta.dirname, '../../../docs/images')

t.test('no page has changed since its picture was made', async (t) => {
  t.same(recordedDigests(), digestsOf(pictures()), 'otherwise run: scripts/screenshots')
  for (const name of Object.keys(pictures())) t.ok(existsSync(join(IMAGES, `${name}.png`)), name)
})
