// What the tools that people use today need for the same, so that our own numbers can be judged. Measured elsewhere, on
// 2026-11-26, on a Debian 12 systemd node (2 cores) with containerd 2.1.9, each tool as its DaemonSet runs it, polled
// every 10 ms (memory and healing: 2026-11-21). Not in any number, theirs or ours: API server, propagation of the
// volume, image pull, roll-out.

export const RIVALS = {
  restart: 'shell DaemonSet 1025 ms; Astronomer 244 ms, never on the default file: none rehearses or proves',
  noRestart: 'node-ca 63 ms; Educates 63 ms; Astronomer 133 ms: none proves',
  rotation: 'Educates 5.4 s; node-ca 57-63 s; Astronomer and shell DaemonSet never',
  gap: 'Astronomer 97 ms (1.6), 142 ms (2.1); shell DaemonSet 104 ms; nvidia-ctk 5.1-5.4 s',
  memory: 'shell DaemonSet 1.8 MB; Educates 3.4 MB; nvidia-ctk 14 MB; Astronomer 18 MB; node-ca 76 MB (RSS)',
  idle: 'node-ca 1.6 ms; Educates 3.0 ms; Astronomer 21 ms',
  driftDeleted: 'Educates 8.6-9.6 s; node-ca 51 s; the others never',
  driftAltered: 'Educates 9.5 s; the others never',
  driftOther: 'none heals it',
} as const
