import t from 'tap'
import { parseContainerPid, parseStatus } from '../../../agent/node/cri/status.ts'

const READY = { type: 'RuntimeReady', status: true, message: '' }
const NETWORK_DOWN = { type: 'NetworkReady', status: false, message: 'cni plugin not initialized' }
const OLD_REGISTRY = {
  configPath: '',
  mirrors: null,
  configs: { 'r.test': { auth: { username: 'u', password: 'hunter2' }, tls: null } },
  headers: { 'X-Token': ['s3cret'] },
}

function reply(config: object, ...more: { type: string; status: boolean; message: string }[]) {
  return {
    status: { conditions: [READY, NETWORK_DOWN, ...more] },
    info: { config: JSON.stringify(config), golang: 'go1' },
  }
}

t.test('lets no password or header out', async (t) => {
  const parsed = parseStatus(reply({ sandboxImage: 'pause:3.6', registry: OLD_REGISTRY }))
  t.same(parsed, {
    runtimeReady: true,
    networkReady: false,
    loadedConfigPath: '',
    loadedLegacy: true,
    loadedTlsFiles: [],
    sandboxImage: 'pause:3.6',
  })
  t.notMatch(JSON.stringify(parsed), /hunter2|s3cret/)
})

t.test('tells legacy sections from the shown registry, empty and missing ones being none', async (t) => {
  for (const [mirrors, configs, legacy] of [
    [null, null, false],
    [{}, {}, false],
    [{ 'r.test': { endpoint: [] } }, null, true],
    [{}, { 'r.test': { tls: { caFile: '/x' } } }, true],
  ] as const) {
    const { loadedLegacy } = parseStatus(
      reply({ registry: { configPath: '/etc/containerd/certs.d', mirrors, configs } }),
    )
    t.equal(loadedLegacy, legacy, JSON.stringify({ mirrors, configs }))
  }
})

t.test('tells which files the loaded sections name, where it is told', async (t) => {
  const configs = {
    'r.test': { tls: { insecure_skip_verify: false, caFile: '/ca.pem', certFile: '/c.pem', keyFile: '/k.pem' } },
    'a.test': { auth: { username: 'u', password: 'hunter2' }, tls: { caFile: '', certFile: '' } },
  }
  t.same(parseStatus(reply({ registry: { configPath: '', configs } })).loadedTlsFiles, ['/ca.pem', '/c.pem'])
  t.same(parseStatus(reply({ registry: { configPath: '', configs: null } })).loadedTlsFiles, [])
  t.equal(parseStatus(reply({ registry: { configPath: '', mirrors: {} } })).loadedTlsFiles, undefined)
  t.equal(parseStatus(reply({})).loadedTlsFiles, undefined)
})

t.test('tells them from the deprecation warnings where no registry is shown', async (t) => {
  const warned = (message: string) =>
    parseStatus(reply({}, { type: 'ContainerdHasNoDeprecationWarnings', status: false, message }))
  const configs = warned('{"io.containerd.deprecation/cri-registry-configs":"text"}')
  t.same(configs, {
    runtimeReady: true,
    networkReady: false,
    deprecations: ['io.containerd.deprecation/cri-registry-configs'],
    loadedLegacy: true,
  })
  t.equal(warned('{"io.containerd.deprecation/other":"text"}').loadedLegacy, false)
  t.match(parseStatus(reply({}, { type: 'ContainerdHasNoDeprecationWarnings', status: true, message: '' })), {
    deprecations: [],
    loadedLegacy: false,
  })
})

t.test('says nothing where nothing is told', async (t) => {
  t.same(parseStatus({ status: null, info: {} }), { runtimeReady: false, networkReady: false })
  t.same(parseStatus({ status: { conditions: [READY] }, info: { config: 'not json' } }), {
    runtimeReady: true,
    networkReady: false,
  })
  t.same(parseStatus({ status: { conditions: [READY] }, info: { config: '["a"]' } }), {
    runtimeReady: true,
    networkReady: false,
  })
})

t.test('reads the pid of a container and nothing else', async (t) => {
  t.equal(parseContainerPid({ info: '{"pid":42,"runtimeSpec":{}}' }), 42)
  t.equal(parseContainerPid({ info: '{"pid":0}' }), undefined)
  t.equal(parseContainerPid({ info: '{' }), undefined)
  t.equal(parseContainerPid({}), undefined)
})
