// `layout: legacy` from inside the Pod of the profile "full": sections in config.toml, the restart by the sidecar,
// and away again.
import t from 'tap'
import { deployedNode, HOST, isVersion2, untilStatus } from '../fixtures/deploy/deployed-node.ts'
import { imageUnavailable } from '../fixtures/deploy/image.ts'
import { podSpec, render } from '../fixtures/deploy/objects.ts'
import { contents, TRUST_FOLDERS } from '../fixtures/e2e/agent-on-node.ts'
import { eachSystemdGeneration } from '../fixtures/node/node-tests.ts'

const CONFIG = '/etc/containerd/config.toml'
const CA = `/etc/containerd/registry-trust/${HOST}/ca.crt`
const trust = { targets: { containerd: { layout: 'legacy' }, systemTrust: { enabled: false } } }

if (imageUnavailable() === undefined)
  eachSystemdGeneration(t, 'layout: legacy in a Pod', async (t, generation) => {
    const { node, witness, registry, pod: run } = await deployedNode(t, generation, { trust })
    const [facts, tree] = [await witness.facts(), await contents(node, ...TRUST_FOLDERS)]
    t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
    const full = await run(podSpec(await render('overlays/full')))
    const agent = full.container('agent')
    if (isVersion2(generation)) {
      const { registries } = await untilStatus(agent, ({ problems }) => problems.length > 0)
      t.match(registries, [{ state: 'untrusted' }], 'containerd 2 reads no such sections')
      t.equal(await contents(node, ...TRUST_FOLDERS), tree, 'and nothing was written')
      return
    }
    await untilStatus(agent, ({ state }) => state === 'converged')
    t.match(await node.pull(registry.reference()), { ok: true })
    t.match(await node.readFile(CONFIG), `ca_file = "${CA}"`)
    t.notMatch(await node.readFile(CONFIG), / config_path = "\/etc\/containerd/)
    t.match(await full.container('sidecar').log(), /"restarted"/)
    t.same(await witness.facts(), facts, 'the container that was there runs on')
    await full.remove()

    const gone = await run(podSpec(await render('overlays/uninstall')))
    t.match(await gone.container('uninstall').status(), { state: 'CONTAINER_EXITED', exit_code: 0 })
    t.equal(await contents(node, ...TRUST_FOLDERS), tree)
    t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
  })
