{{/* Pods of hooks: on any node that takes ordinary Pods, without any right on it. */}}
{{- define "registry-trust.jobPod" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  kubernetes.io/os: linux
securityContext:
  runAsUser: 65532
  runAsGroup: 65532
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "registry-trust.jobContainer" -}}
securityContext:
  {{- include "registry-trust.least" . | nindent 2 }}
resources:
  requests: {cpu: 10m, memory: 64Mi}
  limits: {memory: 128Mi}
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}
