// The table of version lines, and images whose digests do not depend on when or where they are made.
import t from 'tap'
import { expectedOf } from './generations.ts'
import { buildImage, ociArchive, tinyImage } from './image.ts'

t.test('expects a version line that is not in the table to be like the one before it', async (t) => {
  t.equal(expectedOf('1.6').reportsDeprecations, false)
  t.same(expectedOf('2.0'), expectedOf('1.7'))
  t.same(expectedOf('2.10'), expectedOf('2.1'))
  t.throws(() => expectedOf('1.5'), /1\.5 is older than every version/)
})

t.test('makes the same image from the same files', async (t) => {
  t.equal(tinyImage('a').manifest.digest, tinyImage('a').manifest.digest)
  t.not(tinyImage('a').manifest.digest, tinyImage('b').manifest.digest)
  t.equal(ociArchive(tinyImage('a'), ['x:1']).length % 512, 0)
  const long = { path: 'a/'.repeat(60), bytes: Buffer.from(''), mode: 0o644 }
  t.throws(() => buildImage([long], ['/x']), /longer than 100 bytes/)
})
