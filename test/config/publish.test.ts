import t from 'tap'
import { desiredOf, loadFiles, told } from '../fixtures/config/fixture.ts'

const ANCHOR = 'anchors: { corp: { pem: x } }\n'

t.test("Tekton's preset and any other ConfigMap", async (t) => {
  const yaml = `${ANCHOR}publish:
  tekton: true
  configMaps:
    - { namespace: builds, name: ca, anchors: [corp], restart: [reader] }
    - { namespace: builds, name: certs, format: certs.d }
`
  const { publish } = desiredOf(await loadFiles(t.testdir(), { 'trust.yaml': yaml }))
  t.match(publish, [
    {
      namespace: 'tekton-pipelines',
      name: 'config-registry-cert',
      key: 'cert',
      restart: [{ name: 'tekton-pipelines-controller' }],
    },
    { key: 'ca-bundle.crt', format: 'bundle', anchors: ['corp'], restart: [{ namespace: 'builds', name: 'reader' }] },
    { format: 'certs.d', restart: [] },
  ])
})

t.test('it changes nothing on a node: the generation is the same', async (t) => {
  const [plain, publishing] = [ANCHOR, `${ANCHOR}publish: { tekton: true }\n`]
  const load = async (name: string, text: string) =>
    desiredOf(await loadFiles(t.testdir({ [name]: {} }), { 'trust.yaml': text }))
  t.equal((await load('a', plain)).generation, (await load('b', publishing)).generation)
})

t.test('mistakes are named with their place', async (t) => {
  const table: { readonly [section: string]: RegExp } = {
    '{ configMaps: [{ namespace: a, name: b, anchors: [crop] }] }':
      /anchors\[0\] names the unknown anchor crop; did you mean corp\?/,
    '{ configMaps: [{ namespace: a, name: b, format: certs.d, key: k }] }': /key does not apply to format certs\.d/,
    '{ configMaps: [{ namespace: a, name: b }, { namespace: a, name: b }] }':
      /declares a\/b again: it is already declared at trust\.yaml:2/,
    '{ configMaps: [{ namespace: A, name: b }] }': /must be a name of lower-case letters/,
  }
  for (const [section, expected] of Object.entries(table)) {
    const folder = t.testdir()
    const result = await loadFiles(folder, { 'trust.yaml': `${ANCHOR}publish: ${section}\n` })
    t.match(told(result.problems, folder), [expected], section)
  }
})
