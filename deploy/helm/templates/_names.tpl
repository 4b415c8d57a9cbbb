{{- define "clawback.name" -}}
{{- if contains "clawback" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-clawback" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "clawback.selector" -}}
app.kubernetes.io/name: clawback
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "clawback.labels" -}}
{{ include "clawback.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "clawback.shared" -}}
{{- if or .Values.existingSecret (and .Values.database.url .Values.redis.url) }}true{{ end }}
{{- end }}
