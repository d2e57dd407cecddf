// The profile "full" as it is rendered, in the image as it is built: the whole main job, restart included, without a
// single capability; and what somebody who has taken over the agent's container cannot do.
import t from 'tap'
import type { RunningContainer } from '../fixtures/deploy/cri-pod.ts'
import { deployedNode, HOST, isVersion2, untilStatus } from '../fixtures/deploy/deployed-node.ts'
import { imageArchive, imageUnavailable } from '../fixtures/deploy/image.ts'
import { podSpec, render } from '../fixtures/deploy/objects.ts'
import { readImage } from '../fixtures/deploy/oci-archive.ts'
import { contents, TRUST_FOLDERS } from '../fixtures/e2e/agent-on-node.ts'
import { eachSystemdGeneration } from '../fixtures/node/node-tests.ts'

/** A gRPC call with nothing but Node: prints the status and the size of the answer. */
const CALL = `import { connect } from 'node:http2'
import { connect as dial } from 'node:net'
const call = (method, bytes = []) => new Promise((resolve) => {
  const session = connect('http://localhost', { createConnection: () => dial('/run/registry-trust/cri.sock') })
  const request = session.request({ ':method': 'POST', ':path': '/runtime.v1.' + method, 'content-type': 'application/grpc', te: 'trailers' })
  const chunks = []
  let status
  request.on('response', (headers) => { status = headers['grpc-status'] })
  request.on('trailers', (trailers) => { status = trailers['grpc-status'] })
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => { session.close(); resolve({ status: Number(status), answer: Buffer.concat(chunks).toString('latin1') }) })
  const message = Buffer.from(bytes)
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(message.length, 1)
  request.end(Buffer.concat([prefix, message]))
})
const text = (field, value) => { const bytes = Buffer.from(value); return [field * 8 + 2, bytes.length, ...bytes] }
`

async function tryCall(
  agent: RunningContainer,
  method: string,
  bytes = '[]',
): Promise<{ status: number; answer: string }> {
  return JSON.parse(await agent.script(`${CALL}console.log(JSON.stringify(await call('${method}', ${bytes})))`)) as {
    status: number
    answer: string
  }
}

const say = (line: string) => `import { connect } from 'node:net'
const socket = connect('/run/registry-trust/restarter.sock', () => socket.write(${JSON.stringify(`${line}\n`)}))
socket.on('data', (data) => { console.log(String(data)); socket.destroy() })`

const TRY = `import fs from 'node:fs'
const attempt = (work) => { try { work(); return 'done' } catch (error) { return error.code } }
`

t.test(
  'an image can be built here',
  { skip: process.env['CI'] !== 'true' && (imageUnavailable() ?? false) },
  async (t) => {
    t.equal(imageUnavailable(), undefined)
  },
)

if (imageUnavailable() === undefined) {
  t.test('the image is as small as docs/deployment.md says', async (t) => {
    const { compressedBytes } = readImage(await imageArchive())
    t.ok(compressedBytes > 20_000_000 && compressedBytes < 60_000_000, `${compressedBytes} bytes of layers`)
  })

  eachSystemdGeneration(t, 'full', async (t, generation) => {
    const { node, witness, registry, pod: run } = await deployedNode(t, generation)
    const before = await witness.facts()
    t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })

    const started = performance.now()
    const pod = await run(podSpec(await render('overlays/full')))
    const [agent, sidecar] = [pod.container('agent'), pod.container('sidecar')]
    await untilStatus(agent, ({ state }) => state === 'converged')
    t.comment(`from the first container to converged, restart included: ${Math.round(performance.now() - started)} ms`)

    t.test('does the whole job: config_path, restart, system store, proof', async (t) => {
      t.match(await node.pull(registry.reference()), { ok: true })
      t.match(await node.readFile('/etc/containerd/config.toml'), /certs\.d/)
      t.match(await sidecar.log(), /"restarted"/)
      t.same(await witness.facts(), before, 'the container that was there runs on')
      for (const container of [agent, sidecar]) t.match(await container.status(), { state: 'CONTAINER_RUNNING' })
    })

    t.test('no container has a capability, may gain one, or may write to its root', async (t) => {
      for (const container of [agent, sidecar]) {
        const status = await container.script(
          "console.log((await import('node:fs')).readFileSync('/proc/self/status', 'utf8'))",
        )
        for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
          t.match(status, new RegExp(`^${set}:\\t0+$`, 'm'))
        t.match(status, /^NoNewPrivs:\t1$/m)
        t.match(status, /^Seccomp:\t2$/m)
        t.equal(await container.script(`${TRY}console.log(attempt(() => fs.writeFileSync('/x', '')))`), 'EROFS')
      }
    })

    t.test('from the agent: no container can be created, entered or looked into', async (t) => {
      const UNIMPLEMENTED = 12
      for (const method of [
        'RunPodSandbox',
        'CreateContainer',
        'StartContainer',
        'ExecSync',
        'Exec',
        'RemoveContainer',
      ])
        t.match(await tryCall(agent, `RuntimeService/${method}`), { status: UNIMPLEMENTED }, method)
      const verbose = `[...text(1, '${sidecar.id}'), 16, 1]`
      const { status, answer } = await tryCall(agent, 'RuntimeService/ContainerStatus', verbose)
      t.equal(status, 0)
      t.match(answer, sidecar.id)
      t.notMatch(answer, /RESTARTER_SOCKET|envs/, 'the environment of another container')
    })

    t.test('from the agent: nothing undeclared is pulled, and no image is removed', async (t) => {
      const PERMISSION_DENIED = 7
      const image = (reference: string) => `text(1, Buffer.from(text(1, '${reference}')))`
      t.match(await tryCall(agent, 'ImageService/PullImage', image('other.example.net/app:1')), {
        status: PERMISSION_DENIED,
      })
      t.match(await tryCall(agent, 'ImageService/PullImage', image(`${HOST}/library/other:1`)), {
        status: PERMISSION_DENIED,
      })
      t.match(await tryCall(agent, 'ImageService/RemoveImage', image(registry.reference())), { status: 12 })
    })

    t.test('from the agent: systemd does nothing but restart containerd', async (t) => {
      t.match(JSON.parse(await agent.script(say('{"verb":"start-transient","unit":"x.service"}'))), { ok: false })
      t.match(
        JSON.parse(await agent.script(say('{"verb":"restart","unit":"dbus.service","timeoutMs":1000,"machine":"1"}'))),
        {
          ok: false,
          code: 'RESTART_REFUSED',
        },
      )
    })

    t.test('from the agent: neither the sockets nor the rest of the node can be seen', async (t) => {
      const seen = await agent.script(`${TRY}console.log(JSON.stringify({
        host: fs.readdirSync('/host').sort(), etc: fs.readdirSync('/host/etc').sort(), run: fs.readdirSync('/run').sort(),
        sockets: fs.readdirSync('/run/registry-trust').sort(), usr: attempt(() => fs.writeFileSync('/host/usr/x', '')),
        config: attempt(() => fs.writeFileSync('/etc/registry-trust/x', '')), pids: fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).length,
        token: fs.existsSync('/var/run/secrets'), shell: fs.existsSync('/bin/sh') }))`)
      t.same(JSON.parse(seen), {
        host: ['etc', 'usr', 'var'],
        etc: ['containerd', 'ssl'],
        run: ['containerd', 'registry-trust'].filter((name) => JSON.parse(seen).run.includes(name)),
        sockets: ['cri.sock', 'cri.sock.pulse', 'restarter.sock'],
        usr: 'EROFS',
        config: 'EROFS',
        pids: 2,
        token: false,
        shell: false,
      })
    })

    t.test(
      'from the sidecar: other containers cannot be written to',
      { skip: !isVersion2(generation) && 'needs containerd 2' },
      async (t) => {
        const other = `/host/run/containerd/io.containerd.runtime.v2.task/k8s.io/${witness.id}/rootfs`
        t.equal(await sidecar.script(`${TRY}console.log(attempt(() => fs.readdirSync('${other}')))`), 'done')
        t.equal(await sidecar.script(`${TRY}console.log(attempt(() => fs.writeFileSync('${other}/x', '')))`), 'EROFS')
      },
    )

    t.test('a changed ConfigMap arrives without a restart of the Pod or of containerd', async (t) => {
      const pid = await node.containerdPid()
      await pod.updateConfigMap('inputs', { 'trust.yaml': 'registries: []' })
      await untilStatus(agent, ({ state, registries }) => state === 'converged' && registries.length === 0)
      t.notMatch(await node.exec(['ls', '/etc/containerd/certs.d']), { stdout: /harbor/ }, 'the registry is gone')
      t.equal(await node.containerdPid(), pid)
    })

    t.test('memory of the two', async (t) => {
      for (const [name, container] of Object.entries({ agent, sidecar })) {
        const status = await node.readFile(`/proc/${await container.pid()}/status`)
        const [rss, anon] = ['VmRSS', 'RssAnon'].map((field) =>
          Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]),
        )
        t.comment(`${name}: resident ${rss} kB, of that its own ${anon} kB`)
        t.ok(Number(anon) < (name === 'agent' ? 150_000 : 64_000), `${name} stays small`)
      }
    })

    t.test('SIGTERM ends each within its grace and takes nothing off the node', async (t) => {
      const tree = await contents(node, ...TRUST_FOLDERS)
      for (const container of [agent, sidecar]) {
        const began = performance.now()
        await container.stop(30)
        t.equal((await container.status()).exit_code, 0)
        t.ok(performance.now() - began < 10_000, `${Math.round(performance.now() - began)} ms`)
      }
      t.equal(await contents(node, ...TRUST_FOLDERS), tree)
    })
  })
}
