// Every deprecation that a release of containerd 1.6 to 2.4 can report has a remedy of its own.
import t from 'tap'
import { DEPRECATIONS, deprecationOf } from '../../agent/containerd/deprecations.ts'

/** The constants of pkg/deprecation/deprecation.go, by line of releases, over all tags that have the file. */
const REPORTED: { readonly [line: string]: readonly string[] } = {
  '1.6 and 1.7': [
    ...['pull-schema-1-image', 'go-plugin-library', 'cri-systemd-cgroup-v1', 'cri-untrusted-workload-runtime'],
    ...['cri-default-runtime', 'cri-runtime-engine', 'cri-runtime-root', 'cri-registry-mirrors', 'cri-registry-auths'],
    ...['cri-registry-configs', 'cri-api-v1alpha2', 'aufs-snapshotter', 'restart-logpath', 'runtime-v1'],
    ...['runtime-runc-v1', 'cri-criu-path', 'tracing-processor-config', 'tracing-service-config'],
  ],
  '2.0': ['pull-schema-1-image', 'go-plugin-library', 'cri-registry-mirrors', 'tracing-processor-config'],
  '2.1': ['cri-registry-mirrors', 'cri-registry-auths', 'cri-registry-configs', 'cri-cni-bin-dir'],
  '2.2': ['cri-cni-bin-dir', 'nri-v010-plugin', 'cgroup-v1', 'tracing-service-config'],
  '2.3': [
    ...['nri-plugin-interface', 'enable-cdi', 'runc-options-task-api-address', 'runc-options-task-api-version'],
    'cri-create-container-checkpoint-restore',
  ],
  '2.4': ['nri-plugin-interface', 'cgroup-v1', 'enable-cdi', 'runc-options-task-api-address'],
}

t.test('each has its own meaning and remedy, and none is listed that no release reports', async (t) => {
  const reported = new Set(Object.values(REPORTED).flat())
  t.same(Object.keys(DEPRECATIONS).toSorted(), [...reported].toSorted())
  const texts = Object.values(DEPRECATIONS).flatMap(({ meaning, remedy }) => [meaning, remedy])
  t.equal(new Set(texts).size, texts.length, 'no text stands for two of them')
})

t.test('`migrate` is the remedy only for the sections that it moves', async (t) => {
  const byMigrate = Object.entries(DEPRECATIONS).filter(([, { remedy }]) => /Run `registry-trust migrate`/.test(remedy))
  t.same(byMigrate.map(([id]) => id).toSorted(), ['cri-registry-configs', 'cri-registry-mirrors'])
})

t.test('one that is not known yet leads to what containerd itself says of it', async (t) => {
  t.match(deprecationOf('io.containerd.deprecation/future'), { meaning: /reports future/, remedy: /ctr deprecations/ })
  t.equal(deprecationOf('io.containerd.deprecation/cgroup-v1'), DEPRECATIONS['cgroup-v1'])
})
