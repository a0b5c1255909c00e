# SPDX-License-Identifier: MIT
# amlctl.bash - completion for bash
#
# There is no list of commands or options here: `amlctl help --complete` says what there is. Runs and experiments are
# asked of a daemon that is there already (none is started), for at most two seconds.

# amlctl as it was typed, with the socket and state folder of the line, within the time limit.
_amlctl_ask() {
	timeout 2 "${program[@]}" "$@" </dev/null 2>/dev/null
}

# What `help --complete` says of the command, "" for amlctl itself: into the arrays of the caller.
_amlctl_load() {
	local kind word value
	while IFS=$'\t' read -r kind word value _; do
		case $kind in
		command) commands+=("$word") ;;
		operands) operands=$word ;;
		option)
			options+=("$word")
			takes[$word]=$value
			;;
		state) states[$word]=$value ;;
		esac
	done < <(_amlctl_ask help --complete ${1:+"$1"})
}

# The names of the states that are live, or over, with commas.
_amlctl_states() {
	local name
	for name in "${!states[@]}"; do
		[[ ${states[$name]} == "$1" ]] && echo "$name"
	done | paste -sd,
}

# The experiment that the beginning of a run's id tells: "mnist_1790000000_0a".
_amlctl_experiment_of() {
	[[ $1 =~ ^(.+)_[0-9]{10}_[0-9a-f]{0,8}$ || $1 =~ ^(.+)_[0-9]{1,10}$ ]] && echo "${BASH_REMATCH[1]}"
}

# The first column of the newest runs that the command can be about, and of the experiment's that the word tells.
_amlctl_runs() {
	local -a only=()
	local experiment
	experiment=$(_amlctl_experiment_of "${cur##*[:,]}")
	case $1 in
	hold | release) only=(--status Queued) ;;
	cancel | wait) only=(--status "$(_amlctl_states live)") ;;
	delete) only=(--status "$(_amlctl_states over)") ;;
	esac
	_amlctl_ask list -n 1000 "${only[@]}" | awk 'NR > 1 { print $1 }'
	[[ $experiment ]] && _amlctl_ask list -n 1000 -e "$experiment" "${only[@]}" | awk 'NR > 1 { print $1 }'
}

_amlctl_files() {
	_amlctl_ask files "$1" -o json | grep -o '"path":"[^"\\]*"' | sed 's/^"path":"//; s/"$//'
}

_amlctl_logs() {
	_amlctl_ask logs "$1" -o json | grep -o '"[^"\\]*":' | sed 's/^"//; s/":$//'
}

# Candidates that begin as the word does; they come on standard input, a line each.
_amlctl_offer() {
	local line
	while IFS= read -r line; do
		[[ $line == "$cur"* ]] && COMPREPLY+=("$line")
	done
}

# The last of several with commas: "a,b<TAB>".
_amlctl_offer_list() {
	local before=
	[[ $cur == *,* ]] && before=${cur%,*},
	_amlctl_offer < <(sed "s|^|$before|")
}

_amlctl_paths() {
	compopt -o filenames 2>/dev/null
	_amlctl_offer < <(compgen "$1" -- "$cur")
}

# "[afterok:|afterany:]RUN", several with commas.
_amlctl_after() {
	local condition=${cur##*,}
	[[ $condition == *:* ]] && condition=${condition%%:*}: || condition=
	_amlctl_offer_list < <(
		[[ $condition ]] || printf 'afterok:\nafterany:\n'
		_amlctl_runs show | sed "s/^/$condition/"
	)
	[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *: ]] && compopt -o nospace 2>/dev/null
}

# A value, by what --help calls it.
_amlctl_value() {
	case $1:$2 in
	*:DIR) _amlctl_paths -d ;;
	*:PATH | *:FILE) _amlctl_paths -f ;;
	-e:* | --experiment:*) _amlctl_offer < <(_amlctl_ask list -n 1000 | awk 'NR > 1 { print $2 }' | sort -u) ;;
	--status:*) _amlctl_offer_list < <(printf '%s\n' "${!states[@]}") ;;
	--user:*) _amlctl_offer < <(compgen -u) ;;
	--run-configuration:* | -c:*)
		_amlctl_offer < <(compgen -G '.azureml/*.runconfig' | sed 's|^\.azureml/||; s|\.runconfig$||')
		_amlctl_paths -f
		;;
	*:*afterok:*) _amlctl_after ;;
	*:json\|table) _amlctl_offer < <(printf 'json\ntable\n') ;;
	esac
}

# An operand, by its place in the synopsis.
_amlctl_operand() {
	case $operands:$count in
	SCRIPT*) _amlctl_paths -f ;;
	RUN...:* | RUN*:0)
		_amlctl_offer <<<latest
		_amlctl_offer < <(_amlctl_runs "$command")
		;;
	RUN\ \[NAME...\]:*) _amlctl_offer < <(_amlctl_files "$first") ;;
	RUN\ \[NAME\]:1) _amlctl_offer < <(_amlctl_logs "$first") ;;
	esac
}

# The words up to the cursor as amlctl will get them: readline parts them at ":" and "=" too. "--option=value" stays
# in three.
_amlctl_join() {
	local word last=
	for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
		if [[ $last && $last != "=" && ($word == : || $last == *[:=] || $word == "=" && $last != --*) ]]; then
			line[-1]+=$word
		else
			line+=("$word")
		fi
		last=${line[-1]}
	done
}

# The words before the cursor: which command, how many operands, and whether the word here is an option's value.
_amlctl_read_line() {
	local at word
	for ((at = 1; at < here; at++)); do
		word=${line[at]}
		pending=
		if [[ $ended || $word != -?* ]]; then
			if [[ ! $command ]]; then
				command=$word
				options=()
				takes=()
				[[ $word == help ]] || _amlctl_load "$word"
				continue
			fi
			[[ $count == 0 ]] && first=$word
			((count++))
			[[ $operands == SCRIPT* ]] && ended=1
			continue
		fi
		if [[ $word == -- ]]; then
			ended=1
			continue
		fi
		[[ ${takes[$word]-} && ${takes[$word]} != - ]] || continue
		# "--option=value" comes as three words.
		[[ ${line[at + 1]} == "=" ]] && ((at++))
		if ((at + 1 >= here)); then
			pending=$word
			continue
		fi
		((at++))
		case $word in
		--socket | --state-dir) program+=("$word" "${line[at]}") ;;
		esac
	done
}

_amlctl() {
	local cur pending= command= operands= first= ended=
	local -a line=() commands=() options=() program=("${COMP_WORDS[0]/#\~/$HOME}" --no-autostart)
	local -A takes=() states=()
	local -i count=0 here

	COMPREPLY=()
	_amlctl_join
	here=$((${#line[@]} - 1))
	cur=${line[here]}
	_amlctl_load ""
	_amlctl_read_line
	[[ $cur == "=" && $pending ]] && cur=
	if [[ $pending ]]; then
		_amlctl_value "$pending" "${takes[$pending]}"
	elif [[ ! $ended && $cur == -* ]]; then
		_amlctl_offer < <(printf '%s\n' "${options[@]}")
	elif [[ ! $command ]]; then
		_amlctl_offer < <(printf '%s\n' "${commands[@]}")
	elif [[ $command == help ]]; then
		((count)) || _amlctl_offer < <(printf '%s\n' "${commands[@]}")
	else
		_amlctl_operand
	fi
	# readline replaces only what follows the last ":".
	[[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*:}"}"}")
	return 0
}

complete -F _amlctl amlctl
