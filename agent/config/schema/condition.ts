// The key `when` of anchors, registries, targets and restart.
export const condition = {
  description: 'Only on nodes for which all of this holds. On the others it is left out, and reported.',
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    nodes: {
      description: 'Patterns of node names, with * and ?; one of them must match.',
      type: 'array',
      minItems: 1,
      maxItems: 500,
      items: {
        type: 'string',
        maxLength: 253,
        pattern: '^[A-Za-z0-9*?._-]+$',
        'x-expected': 'a node name, or a pattern of one such as gpu-*',
      },
    },
    os: {
      description: 'IDs as /etc/os-release has them: debian, ubuntu, rhel, flatcar.',
      type: 'array',
      minItems: 1,
      maxItems: 50,
      items: { type: 'string', pattern: '^[a-z0-9._-]{1,100}$', 'x-expected': 'an ID of /etc/os-release' },
    },
    arch: {
      description: 'Architectures in the words of Kubernetes.',
      type: 'array',
      minItems: 1,
      maxItems: 20,
      items: { type: 'string', enum: ['amd64', 'arm64', 'arm', '386', 'ppc64le', 's390x', 'riscv64', 'loong64'] },
    },
    containerd: {
      description: 'Versions of containerd: comparisons that must all hold, such as ">=1.7 <2.1".',
      type: 'string',
      maxLength: 200,
      pattern: '^ *(?:<=|>=|<|>|=) *v?[0-9]+(?:\\.[0-9]+){0,2}(?: +(?:<=|>=|<|>|=) *v?[0-9]+(?:\\.[0-9]+){0,2})* *$',
      'x-expected': 'comparisons with versions such as ">=1.7 <2.1"',
    },
    labels: {
      description:
        'Labels of the node with these values ("*": any), from the file of --node-labels, or those that `fleet.nodeLabels` names.',
      type: 'object',
      minProperties: 1,
      maxProperties: 50,
      additionalProperties: { type: 'string', maxLength: 63 },
    },
  },
} as const
