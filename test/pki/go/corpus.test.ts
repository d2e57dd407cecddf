// Which certificates containerd's Go reads: our rules beside the real containerd of each generation, over mutants of
// valid certificates. A sample runs with the tests. Once, 12,000 mutants were asked of each of containerd 1.6.20,
// 1.7.24 and 2.1.9 (seeds 1 to 3, 4,000 each): 36,000 answers, and no difference but the 28 about negative serial
// numbers. REGISTRY_TRUST_MUTANTS=4000 REGISTRY_TRUST_SEED=1 runs one of these again.
import t from 'tap'
import { refusalText, whyGoRefuses } from '../../../agent/pki/go/certificate.ts'
import { GO_RELEASES, type GoVersion } from '../../../agent/pki/go/refusal.ts'
import { fixturesUnavailable } from '../../fixtures/node/generations.ts'
import { generations, shortFolder } from '../../fixtures/node/private-containerd.ts'
import { startCaLoader } from '../../fixtures/pki/ca-loader.ts'
import { createMutants } from '../../fixtures/pki/certificate-mutants.ts'
import { mutantBases } from '../../fixtures/pki/mutant-bases.ts'

const COUNT = Number(process.env['REGISTRY_TRUST_MUTANTS'] ?? 120)
const SEED = Number(process.env['REGISTRY_TRUST_SEED'] ?? 7)
/** A line that is newer than all that are known here is expected to be like the newest. */
function releaseOf(line: string): GoVersion | undefined {
  return (GO_RELEASES.find(({ containerd }) => containerd === line) ?? GO_RELEASES.at(-1))?.go
}

/**
 * Whether Go 1.23 and later read it depends on the build: not where containerd's go.mod names Go 1.23 or later, as
 * upstream's 2.1 does;
 * Debian's packages are built with the older default (GODEBUG x509negativeserial=1).
 */
const NEGATIVE = 'its serial number is negative'

const skip = fixturesUnavailable()
t.setTimeout(30_000 + COUNT * 200)
const bases = mutantBases(t.testdir())
const mutants = createMutants(bases, COUNT, SEED)

t.test('reads every certificate that the mutants are made of', async (t) => {
  for (const base of bases) t.equal(whyGoRefuses(base), undefined)
})

for (const generation of skip === undefined ? generations() : []) {
  const go = releaseOf(generation.label)
  t.test(`agrees with containerd ${generation.label} about mutants of certificates`, async (t) => {
    const loader = await startCaLoader(t, generation, shortFolder(t))
    t.same(await loader.load(bases), Array(bases.length).fill(true), 'the bases are loaded')
    const loaded = await loader.load(mutants.map(({ der }) => der))
    const differences = mutants.flatMap(({ der, what }, at) => {
      const refusal = whyGoRefuses(der)
      if (refusal?.reason === NEGATIVE && loaded[at] === true) return []
      const isRead = !refusal?.refusedBy.some((release) => release === go)
      return isRead === loaded[at] ? [] : [`${what}: ${refusal === undefined ? 'read' : refusalText(refusal)}`]
    })
    const refused = loaded.filter((one) => !one).length
    t.ok(refused > COUNT / 4 && refused < (COUNT * 3) / 4, `${refused} of ${COUNT} are refused`)
    t.same(differences, [])
  })
}
