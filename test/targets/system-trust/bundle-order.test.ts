// Where new anchors go in the bundle: compared with inserting them one after the other, and counted.
import t from 'tap'
import {
  type BundleText,
  bundleText,
  insertInOrder,
  orderOf,
  type Source,
  withoutTexts,
} from '../../../agent/targets/system-trust/bundle-order.ts'

const pemOf = (name: string) => `-----BEGIN CERTIFICATE-----\n${name}\n-----END CERTIFICATE-----\n`

/** One after the other, each with a search through the whole bundle. */
function oneByOne(bundle: string, added: readonly Source[], foreign: readonly Source[], ours: readonly Source[]) {
  return added.reduce((text, source) => {
    const order = orderOf(foreign, bundleText(text))
    const later = [...foreign, ...ours]
      .filter(({ path }) => order(path, source.path) > 0)
      .sort((a, b) => order(a.path, b.path))
    for (const next of later) {
      const at = next.text === '' ? -1 : text.lastIndexOf(next.text)
      if (at >= 0) return text.slice(0, at) + source.text + text.slice(at)
    }
    return text === '' || text.endsWith('\n') ? text + source.text : `${text}\n${source.text}`
  }, bundle)
}

/** The same numbers in every run. */
function random(seed: number) {
  let state = seed
  return (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((state / 2_147_483_648) * below)
  }
}

t.test('puts anchors where they come to lie when they are inserted one after the other', async (t) => {
  for (let seed = 1; seed <= 400; seed++) {
    const pick = random(seed)
    const names = Array.from({ length: 3 + pick(12) }, (_, index) => `${'aBcDe-_x'[pick(8)]}${index}.crt`)
    const text = (name: string) => (pick(9) === 0 ? `# of ${name}\n${pemOf(name)}` : pemOf(name))
    const sources = names.map((name) => ({ path: `/certs/${name}`, text: text(name) }))
    const ours = sources.filter(() => pick(2) === 0).map(({ path }) => ({ path, text: pemOf(`ours of ${path}`) }))
    const foreign = sources.filter(() => pick(3) > 0)
    const present = [...foreign, ...ours].filter(() => pick(3) > 0).sort((a, b) => (a.path < b.path ? -1 : 1))
    const start = pick(3) === 0 ? '' : pemOf('a root of the distribution')
    const bundle = start + present.map((one) => one.text).join('') + (pick(5) === 0 ? 'no line end' : '')
    const known = bundleText(bundle)
    const added = ours.filter((one) => !known.has(one.text))
    t.equal(insertInOrder(known, added, foreign, ours), oneByOne(bundle, added, foreign, ours), `seed ${seed}`)
  }
})

t.test('finds each text in the bundle as a search for it does', async (t) => {
  const [one, two] = [pemOf('one'), pemOf('two')]
  const text = `${one}# a remark\n${two}${one}rest`
  const bundle = bundleText(text)
  for (const asked of [one, two, `# a remark\n${two}`, 'rest', pemOf('three')])
    t.equal(bundle.lastIndexOf(asked), text.lastIndexOf(asked))
  t.equal(bundle.has(''), false)
})

t.test('takes out the first place of each text', async (t) => {
  const [one, two] = [pemOf('one'), pemOf('two')]
  t.equal(withoutTexts(`${one}${two}${one}# foreign $& text\n`, [one, '# foreign $& text\n']), `${two}${one}`)
})

t.test('asks where a source lies twice at most, however many anchors are new', async (t) => {
  const ours = Array.from({ length: 500 }, (_, index) => ({ path: `/certs/${index}.crt`, text: pemOf(`${index}`) }))
  const foreign = ours.map(({ path, text }) => ({ path: `${path}-foreign`, text: text.replace('\n', '\nforeign') }))
  const bundle = bundleText(foreign.map(({ text }) => text).join(''))
  let asked = 0
  const counted: BundleText = {
    ...bundle,
    lastIndexOf(text) {
      asked += 1
      return bundle.lastIndexOf(text)
    },
  }
  insertInOrder(counted, ours, foreign, ours)
  t.ok(asked <= 2 * (ours.length + foreign.length), `${asked} times`)
})
