import t from 'tap'
import { isClusterName } from '../../agent/text/cluster-name.ts'

t.test('knows names that only the DNS of a cluster resolves', async (t) => {
  const ofCluster = [
    'harbor.registry.svc',
    'harbor.registry.svc:443',
    'harbor.registry.svc.cluster.local',
    'HARBOR.registry.SVC.k8s.corp.example.',
    'pod-1.harbor.cluster.local',
    'harbor',
    'registry:5000',
  ]
  for (const host of ofCluster) t.ok(isClusterName(host), host)
  const others = [
    'harbor.corp.example',
    'svc.corp.example',
    'localhost',
    'localhost:5000',
    '10.0.0.1:5000',
    '[::1]:5000',
    '::1',
    '',
  ]
  for (const host of others) t.notOk(isClusterName(host), host)
})
