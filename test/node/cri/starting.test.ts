// containerd whose socket is there before its CRI plugin has started: rare on a real one, so a fake server stands for
// that moment.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Server, ServerCredentials, type ServiceDefinition, status } from '@grpc/grpc-js'
import t from 'tap'
import { connectCri } from '../../../agent/node/cri/client.ts'

const STARTING = { code: status.UNKNOWN, details: 'server is not initialized yet' }

function method(path: string) {
  const raw = (bytes: Buffer) => bytes
  return {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  } as const
}

async function startingServer(socket: string): Promise<Server> {
  const server = new Server()
  const service: ServiceDefinition = {
    Version: method('/runtime.v1.RuntimeService/Version'),
    PullImage: method('/runtime.v1.ImageService/PullImage'),
  }
  const refuse = (_call: unknown, answer: (error: object) => void) => answer(STARTING)
  server.addService(service, { Version: refuse, PullImage: refuse })
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    ),
  )
  return server
}

t.test('a containerd that is still starting is not there yet, and not broken', async (t) => {
  // A socket's path may have 107 bytes: the folders of tap are longer.
  const folder = mkdtempSync(join(tmpdir(), 'rt-'))
  const socket = join(folder, 'c.sock')
  const server = await startingServer(socket)
  const cri = connectCri(socket)
  t.teardown(() => {
    cri.close()
    server.forceShutdown()
    rmSync(folder, { recursive: true })
  })
  await t.rejects(cri.version({ timeoutMs: 2_000 }), { code: 'CRI_UNREACHABLE', message: /still starting/ })
  t.match(await cri.pullImage('h.example/x:1', { timeoutMs: 2_000 }), { ok: false, status: 'UNAVAILABLE' })
})
