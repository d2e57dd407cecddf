{{/* Least privilege, for every container of the node. */}}
{{- define "registry-trust.least" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "registry-trust.imageFields" -}}
image: {{ include "registry-trust.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{/* The one that sees containerd and, where the profile restarts it, systemd. */}}
{{- define "registry-trust.sidecar" -}}
{{- $parts := include "registry-trust.parts" . | fromYaml -}}
- name: sidecar
  {{- if not $parts.plain }}
  restartPolicy: Always
  {{- end }}
  {{- include "registry-trust.imageFields" . | nindent 2 }}
  command:
    - /usr/bin/node
    - --max-old-space-size=32
    - --max-semi-space-size=1
    - /usr/lib/registry-trust/registry-trust-sidecar.cjs
    - {{ $parts.restarter | ternary "sidecar" "cri-proxy" }}
  env:
    - name: REGISTRY_TRUST_ROOT
      value: /host
    - name: REGISTRY_TRUST_CONFIG
      value: /etc/registry-trust
    - name: REGISTRY_TRUST_CRI_PROXY
      value: /run/registry-trust/cri.sock
    {{- if $parts.restarter }}
    - name: REGISTRY_TRUST_RESTARTER_SOCKET
      value: /run/registry-trust/restarter.sock
    {{- end }}
    - name: REGISTRY_TRUST_FLEET
      value: /etc/registry-trust-fleet
    {{- with $parts.containerdAddress }}
    - name: REGISTRY_TRUST_CONTAINERD_ADDRESS
      value: {{ . }}
    {{- end }}
  securityContext:
    {{- include "registry-trust.least" . | nindent 4 }}
    {{- if and $parts.restarter (not $parts.plain) }}
    # The default profile of AppArmor lets no container speak on the system bus.
    appArmorProfile:
      type: Unconfined
    {{- end }}
  resources:
    {{- toYaml .Values.resources.sidecar | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - {name: config, mountPath: /etc/registry-trust, readOnly: true}
    - {name: sockets, mountPath: /run/registry-trust}
    # The folder: the socket is a new file after each restart. Other containers' root file systems are below it.
    - name: {{ $parts.crio | ternary "run-crio" "run-containerd" }}
      mountPath: /host{{ $parts.runFolder }}
      readOnly: true
      {{- if not $parts.plain }}
      recursiveReadOnly: IfPossible
      {{- end }}
    {{- if $parts.restarter }}
    - {name: run-dbus, mountPath: /host/run/dbus, readOnly: true}
    {{- if $parts.editsConfig }}
    # To put config.toml back when the agent cannot.
    - {name: etc-containerd, mountPath: /host{{ $parts.containerdFolder }}}
    {{- end }}
    # The record of a restart under way: the agent writes it, and either of the two finishes it.
    - {name: state, mountPath: /host/var/lib/registry-trust}
    {{- end }}
    # Which images it may pull for waiting Pods, where fleet.wakePods is on.
    - {name: fleet, mountPath: /etc/registry-trust-fleet, readOnly: true}
{{- end }}

{{/* The agent; with profile uninstall the same container, that cleans the node once. */}}
{{- define "registry-trust.agent" -}}
{{- $parts := include "registry-trust.parts" . | fromYaml -}}
- name: {{ $parts.uninstall | ternary "uninstall" "agent" }}
  {{- include "registry-trust.imageFields" . | nindent 2 }}
  args: [{{ $parts.uninstall | ternary "uninstall" "agent" }}]
  env:
    - name: REGISTRY_TRUST_ROOT
      value: /host
    - name: REGISTRY_TRUST_CONFIG
      value: /etc/registry-trust
    {{- if $parts.proxy }}
    - name: REGISTRY_TRUST_CRI_PROXY
      value: /run/registry-trust/cri.sock
    {{- end }}
    {{- if $parts.restarter }}
    - name: REGISTRY_TRUST_RESTARTER_SOCKET
      value: /run/registry-trust/restarter.sock
    {{- end }}
    {{- with $parts.containerdAddress }}
    - name: REGISTRY_TRUST_CONTAINERD_ADDRESS
      value: {{ . }}
    {{- end }}
    - name: REGISTRY_TRUST_FLEET
      value: /etc/registry-trust-fleet
    - name: REGISTRY_TRUST_NODE_NAME
      valueFrom:
        fieldRef:
          fieldPath: spec.nodeName
    # Without the Secret every POST is refused.
    - name: REGISTRY_TRUST_TOKEN_FILE
      value: /etc/registry-trust/http-token
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  securityContext:
    {{- include "registry-trust.least" . | nindent 4 }}
  {{- if not $parts.uninstall }}
  ports:
    - {name: http, containerPort: 9461, protocol: TCP}
  startupProbe:
    httpGet: {path: /livez, port: http}
    periodSeconds: 2
    failureThreshold: 60
  livenessProbe:
    httpGet: {path: /livez, port: http}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  readinessProbe:
    httpGet: {path: /readyz, port: http}
    periodSeconds: 5
    timeoutSeconds: 5
  {{- end }}
  resources:
    {{- toYaml .Values.resources.agent | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    {{- include "registry-trust.agentMounts" . | nindent 4 }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* It keeps a cleaned node's Pod Running, so that a rollout tells when every node is clean. */}}
{{- define "registry-trust.done" -}}
- name: done
  {{- include "registry-trust.imageFields" . | nindent 2 }}
  command:
    - /usr/bin/node
    - -e
    - |
      process.on('SIGTERM', () => process.exit(0))
      setInterval(() => {}, 2 ** 30)
      console.log('uninstall has succeeded on this node')
  securityContext:
    runAsUser: 65532
    runAsGroup: 65532
    runAsNonRoot: true
    {{- include "registry-trust.least" . | nindent 4 }}
  resources:
    requests: {cpu: 1m, memory: 32Mi}
    limits: {memory: 64Mi}
{{- end }}
