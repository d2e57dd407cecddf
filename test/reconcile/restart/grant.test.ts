import t from 'tap'
import type { ClosedGrant } from '../../../agent/model/fleet.ts'
import {
  expiredGrant,
  noticeGrant,
  permitByGrant,
  rememberGrant,
  reportGrant,
} from '../../../agent/reconcile/restart/grant.ts'

const grant = { id: 'aaaaaaaa', generation: '0123456789ab', ttlSeconds: 120 }
const used: ClosedGrant = { id: grant.id, generation: grant.generation, phase: 'used', ok: false }

t.test('a grant is good for its generation, from when it is first seen until its time is over', async (t) => {
  const seen = noticeGrant(undefined, grant, 5_000)
  t.same(noticeGrant(seen, grant, 9_000), seen, 'seeing it again does not make it younger')
  t.match(permitByGrant('0123456789ab', seen, [], 125_000), { allowed: true, grant })
  t.match(permitByGrant('0123456789ab', seen, [], 125_001), { allowed: false, reason: /not used in time/ })
  t.match(permitByGrant('ffffffffffff', seen, [], 5_000), { allowed: false, reason: /for generation 0123456789ab/ })
  t.match(permitByGrant('0123456789ab', undefined, [], 5_000), {
    allowed: false,
    reason: "waits for the fleet's grant",
  })
})

t.test('what is used or expired never allows a restart again, although its file is still there', async (t) => {
  const again = noticeGrant(undefined, grant, 1_000_000)
  t.match(permitByGrant('0123456789ab', again, [used], 1_000_000), { allowed: false, reason: /used up/ })
  const seen = noticeGrant(undefined, grant, 0)
  t.equal(expiredGrant(seen, [], 120_000), undefined)
  const expired = expiredGrant(seen, [], 120_001)
  t.match(expired, { id: grant.id, phase: 'expired' })
  t.equal(expiredGrant(seen, [used], 500_000), undefined, 'a grant that was used does not expire')
  const closed = rememberGrant([], expired as ClosedGrant)
  t.match(permitByGrant('0123456789ab', again, closed, 1_000_000), { allowed: false })
})

t.test('eight grants are remembered, each once', async (t) => {
  let closed = rememberGrant([], used)
  closed = rememberGrant(closed, { ...used, phase: 'done', ok: true })
  t.match(closed, [{ phase: 'done', ok: true }])
  for (let index = 0; index < 9; index++) closed = rememberGrant(closed, { ...used, id: `bbbbbbb${index}` })
  t.equal(closed.length, 8)
  t.notOk(closed.some(({ id }) => id === used.id))
})

t.test('the report is of the grant that is seen, else of the last one', async (t) => {
  const seen = noticeGrant(undefined, grant, 0)
  t.equal(reportGrant(undefined, []), null)
  t.match(reportGrant(seen, []), { id: grant.id, phase: 'held' })
  t.match(reportGrant(seen, [used, { ...used, id: 'cccccccc' }]), { id: grant.id, phase: 'used' })
  t.match(reportGrant(undefined, [used, { ...used, id: 'cccccccc', phase: 'done' }]), { id: 'cccccccc', phase: 'done' })
})
