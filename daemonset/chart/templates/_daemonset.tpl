{{/* A template of its own, because the uninstall hook needs the same object with profile uninstall. */}}
{{- define "registry-trust.daemonSet" -}}
{{- $parts := include "registry-trust.parts" . | fromYaml -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "registry-trust.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "registry-trust.labels" . | nindent 4 }}
    app.kubernetes.io/component: agent
spec:
  selector:
    matchLabels:
      {{- include "registry-trust.selectorLabels" . | nindent 6 }}
  revisionHistoryLimit: 3
  updateStrategy:
    {{- if $parts.uninstall }}
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 100%
    {{- else }}
    {{- toYaml .Values.updateStrategy | nindent 4 }}
    {{- end }}
  template:
    metadata:
      labels:
        {{- include "registry-trust.selectorLabels" . | nindent 8 }}
        app.kubernetes.io/component: agent
        {{- with .Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- $annotations := include "registry-trust.podAnnotations" . }}
      {{- with $annotations }}
      annotations:
        {{- . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "registry-trust.fullname" . }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      priorityClassName: {{ .Values.priorityClassName | quote }}
      # The node's own name servers: containerd resolves registries with them too.
      dnsPolicy: Default
      # A transaction under way is finished, or undone, before the agent ends.
      terminationGracePeriodSeconds: 60
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        # The node's trust folders belong to root; no capability is added to that.
        runAsUser: 0
        runAsGroup: 0
        {{- if $parts.openshift }}
        seLinuxOptions:
          type: spc_t
        {{- end }}
        seccompProfile:
          type: RuntimeDefault
      {{- if and $parts.proxy (not $parts.plain) }}
      initContainers:
        {{- include "registry-trust.sidecar" . | nindent 8 }}
        {{- if $parts.uninstall }}
        {{- include "registry-trust.agent" . | nindent 8 }}
        {{- end }}
      {{- end }}
      containers:
        {{- if $parts.uninstall }}
        {{- include "registry-trust.done" . | nindent 8 }}
        {{- else }}
        {{- include "registry-trust.agent" . | nindent 8 }}
        {{- if and $parts.plain $parts.proxy }}
        {{- include "registry-trust.sidecar" . | nindent 8 }}
        {{- end }}
        {{- end }}
      volumes:
        {{- include "registry-trust.volumes" . | nindent 8 }}
{{- end }}

{{- define "registry-trust.podAnnotations" -}}
{{- $parts := include "registry-trust.parts" . | fromYaml -}}
{{- $own := dict }}
{{- if $parts.openshift }}
{{- $_ := set $own "openshift.io/required-scc" (include "registry-trust.clusterName" .) }}
{{- $_ := set $own "target.workload.openshift.io/management" "{\"effect\": \"PreferredDuringScheduling\"}" }}
{{- end }}
{{- if and $parts.plain $parts.restarter }}
{{- $_ := set $own "container.apparmor.security.beta.kubernetes.io/sidecar" "unconfined" }}
{{- end }}
{{- with merge (deepCopy .Values.podAnnotations) $own }}
{{- toYaml . }}
{{- end }}
{{- end }}
