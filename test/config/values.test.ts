import fc from 'fast-check'
import t from 'tap'
import { checkProofImage } from '../../agent/config/reading/image-reference.ts'
import { DURATION_PATTERN, formatDuration, parseDuration } from '../../agent/config/schema/duration.ts'

t.test('reads durations of hours, minutes and seconds', async (t) => {
  const table = { '30s': 30, '10m': 600, '1h30m': 5400, '1h': 3600, '2h3m4s': 7384, '0s': 0, '90m': 5400 }
  for (const [text, seconds] of Object.entries(table)) t.equal(parseDuration(text), seconds * 1000, text)
})

t.test('refuses what is no duration, in the schema as in the code', async (t) => {
  const pattern = new RegExp(DURATION_PATTERN)
  for (const text of ['', '10', 'm', '10 m', '-1s', '1.5h', '5m1h', '10M', '1d', '1s\n', '9999999s']) {
    t.equal(parseDuration(text), undefined, JSON.stringify(text))
    t.notOk(pattern.test(text), JSON.stringify(text))
  }
})

t.test('writes a duration such that it reads back', async (t) => {
  fc.assert(fc.property(fc.nat(200_000), (seconds) => parseDuration(formatDuration(seconds * 1000)) === seconds * 1000))
  t.same([0, 1000, 90_000, 5_400_000, 86_400_000].map(formatDuration), ['0s', '1s', '1m30s', '1h30m', '24h'])
})

t.test('accepts a proof image on the registry itself', async (t) => {
  const digest = `sha256:${'0a'.repeat(32)}`
  for (const rest of [
    'pause',
    'pause:3.10',
    'library/pause:3.10',
    'a/b/c',
    'a__b/c-d.e',
    `a@${digest}`,
    `a:1@${digest}`,
    'a:V1.0_x-y',
  ]) {
    t.equal(checkProofImage(`reg.lab:5000/${rest}`, 'reg.lab:5000'), undefined, rest)
  }
})

t.test('refuses a proof image elsewhere or misspelt', async (t) => {
  const text = 'must be an image reference such as reg.lab/library/pause:3.10, found'
  const table: readonly (readonly [string, string])[] = [
    ['pause:3.10', 'must be an image on the registry itself, such as reg.lab/library/pause:3.10, found "pause:3.10"'],
    [
      'reg.lab:5000/pause',
      'must be an image on the registry itself, such as reg.lab/library/pause:3.10, found "reg.lab:5000/pause"',
    ],
    [
      'reg.lab.evil/pause',
      'must be an image on the registry itself, such as reg.lab/library/pause:3.10, found "reg.lab.evil/pause"',
    ],
    ['reg.lab/Pause', 'must be in lower case up to the tag, found "reg.lab/Pause"'],
    ['reg.lab/', `${text} "reg.lab/"`],
    ['reg.lab//a', `${text} "reg.lab//a"`],
    ['reg.lab/a:', `${text} "reg.lab/a:"`],
    ['reg.lab/a:b c', `${text} "reg.lab/a:b c"`],
    ['reg.lab/a@sha256:00', `${text} "reg.lab/a@sha256:00"`],
    ['reg.lab/a@b@c', `${text} "reg.lab/a@b@c"`],
    ['reg.lab/../a', `${text} "reg.lab/../a"`],
    ['reg.lab/a.', `${text} "reg.lab/a."`],
  ]
  for (const [image, expected] of table) t.equal(checkProofImage(image, 'reg.lab'), expected)
  t.match(checkProofImage(`reg.lab/${'a'.repeat(250)}`, 'reg.lab'), 'must be an image reference')
})
