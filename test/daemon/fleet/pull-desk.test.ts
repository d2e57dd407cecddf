// The agent's part of helping waiting Pods on: it pulls what the note names, without a login, and says how it ended.
import { setImmediate as soon } from 'node:timers/promises'
import t from 'tap'
import { pullId } from '../../../agent/config/fleet-note.ts'
import { pullDesk } from '../../../agent/daemon/fleet/pull-desk.ts'
import type { CriClient } from '../../../agent/model/ports.ts'
import { SILENT } from '../../fixtures/scratch/carry-out.ts'

const HOST = 'harbor.example.net'
const IMAGE = `${HOST}/team/app:1`

function desk(given: {
  readonly present?: boolean
  readonly ok?: boolean
  readonly isDeclared?: boolean
  readonly ends?: boolean
}) {
  const { present = false, ok = true, isDeclared = true, ends = true } = given
  const pulled: unknown[][] = []
  const stopped: string[] = []
  const cri = {
    imageExists: async () => present,
    async pullImage(...args: Parameters<CriClient['pullImage']>) {
      const [reference, { signal }, login] = args
      pulled.push([reference, login])
      if (!ends)
        await new Promise((_resolve, reject) => {
          signal?.addEventListener('abort', () => {
            stopped.push(reference)
            reject(new Error('aborted'))
          })
        })
      return ok ? { ok: true, imageRef: 'x' } : { ok: false, status: 'UNKNOWN', text: '401 Unauthorized' }
    },
    close: () => undefined,
  } as unknown as CriClient
  return { desk: pullDesk({ connect: () => cri, isDeclared: () => isDeclared, log: SILENT }), pulled, stopped }
}

t.test('an image is pulled once for as long as the note names it, without a login', async (t) => {
  const { desk: made, pulled } = desk({})
  made.follow([IMAGE])
  t.same(made.report(), [], 'nothing has ended yet')
  made.follow([IMAGE])
  await soon()
  t.same(made.report(), [{ image: pullId(IMAGE), ok: true }])
  made.follow([IMAGE])
  await soon()
  t.same(pulled, [[IMAGE, undefined]])
  made.follow([])
  t.same(made.report(), [], 'what the note no longer names is forgotten')
  made.follow([IMAGE])
  await soon()
  t.equal(pulled.length, 2, 'and pulled again when it is named again')
})

t.test('what is on the node is not pulled', async (t) => {
  const { desk: made, pulled } = desk({ present: true })
  made.follow([IMAGE])
  await soon()
  t.same(made.report(), [{ image: pullId(IMAGE), ok: true }])
  t.same(pulled, [])
})

t.test('a registry that is not declared, a refusal and a runtime that is not known are told as failed', async (t) => {
  const unknown = pullDesk({ connect: () => undefined, isDeclared: () => true, log: SILENT })
  const foreign = desk({ isDeclared: false })
  for (const made of [unknown, foreign.desk, desk({ ok: false }).desk]) {
    made.follow([IMAGE])
    await soon()
    t.same(made.report(), [{ image: pullId(IMAGE), ok: false }])
  }
  t.same(foreign.pulled, [])
})

t.test('a pull that the note no longer names is ended', async (t) => {
  const { desk: made, stopped } = desk({ ends: false })
  made.follow([IMAGE])
  await soon()
  made.close()
  await soon()
  t.same(stopped, [IMAGE])
  t.same(made.report(), [])
})
