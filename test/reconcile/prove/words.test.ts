// Findings of another runtime's pulls name that runtime, and change nothing else of what they say.
import t from 'tap'
import { finding } from '../../../agent/model/finding.ts'
import type { ProofResult } from '../../../agent/model/proof.ts'
import { inWordsOf } from '../../../agent/reconcile/prove/prove.ts'

t.test('the name of the runtime is replaced where it stands by itself, and never in a host or a path', async (t) => {
  const message =
    "containerd asks containerd.example.net:5000/containerd/x through my-containerd: see containerd's log, /etc/containerd/certs.d or containerd."
  const proof = { host: 'containerd.example.net:5000', finding: finding('timeout', message) } as unknown as ProofResult
  t.equal(
    inWordsOf('CRI-O', proof).finding.message,
    "CRI-O asks containerd.example.net:5000/containerd/x through my-containerd: see CRI-O's log, /etc/containerd/certs.d or CRI-O.",
  )
})
