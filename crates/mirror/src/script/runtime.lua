-- What a configuration of lsyncd may use while files change: events, inlets, lists, and the functions
-- that layers are made of. `core` holds what the program does: the queue of events, processes, the
-- log. While a configuration is only read, it holds nothing but the log.
local core = ...
local runtime = { syncs = {} }
local agents, alarms = {}, {}

local HANDLERS = { 'onAttrib', 'onCreate', 'onModify', 'onDelete', 'onMove', 'onFull', 'onStartup' }
local LAYER = { 'action', 'collect', 'prepare', 'checkgauge', 'full' }

function log(category, ...)
	local parts = table.pack(...)
	for at = 1, parts.n do parts[at] = tostring(parts[at]) end
	core.log(tostring(category), table.concat(parts))
end

local function while_running(name)
	if not core.spawn then error(name .. ' works only while files change', 3) end
end

-- The words of a command: nil is left out, tables are flattened.
local function flatten(into, word)
	if type(word) == 'table' then
		for _, inner in ipairs(word) do flatten(into, inner) end
	elseif word ~= nil then
		into[#into + 1] = tostring(word)
	end
end

function spawn(agent, binary, ...)
	while_running('spawn')
	if type(agent) ~= 'table' or not rawget(agent, '_ids') then
		error('spawn: the first argument must be an event or a list of events', 2)
	end
	local given, words, input, at = table.pack(...), {}, nil, 1
	if given[1] == '<' then
		input, at = tostring(given[2]), 3
	end
	flatten(words, binary)
	for n = at, given.n do flatten(words, given[n]) end
	local process = core.spawn(agent._sync, agent._ids, words, input)
	agents[process] = agent
end

function spawnShell(agent, command, ...)
	spawn(agent, '/bin/sh', '-c', command, '/bin/sh', ...)
end

function alarm(time, call, extra)
	if type(time) ~= 'number' or type(call) ~= 'function' then
		error('alarm wants a time and a function', 2)
	end
	alarms[#alarms + 1] = { time = time, call = call, extra = extra }
end

-- Whether something is to ring.
function runtime.rings() return #alarms > 0 end

-- Rings what is due; the time of the next.
function runtime.ring(time)
	local due, later, first = {}, {}, nil
	for _, one in ipairs(alarms) do
		local where = one.time <= time and due or later
		where[#where + 1] = one
	end
	alarms = later
	for _, one in ipairs(due) do one.call(time, one.extra) end
	for _, one in ipairs(alarms) do
		if not first or one.time < first then first = one.time end
	end
	return first
end

-- A list of an inherited table joins what has no name; what is there already stays.
local function inherit(into, base)
	for key, value in pairs(base) do
		if type(key) == 'string' then
			local own = into[key]
			if own == nil and type(value) == 'table' and key ~= 'checkgauge' then
				own = {}
				for number, item in ipairs(value) do own[number] = item end
				into[key] = own
			elseif own == nil then
				into[key] = value
			end
			if type(own) == 'table' and type(value) == 'table' then inherit(own, value) end
		elseif type(value) ~= 'table' and into[key] == nil then
			into[key] = value
		end
	end
	for _, inner in ipairs(base) do
		if type(inner) == 'table' then inherit(into, inner) end
	end
end

local function is_scripted(config)
	for _, names in ipairs { HANDLERS, LAYER } do
		for _, name in ipairs(names) do
			if config[name] ~= nil then return true end
		end
	end
	local binary = type(config.rsync) == 'table' and config.rsync.binary
	return type(config.init) == 'function'
		or type(binary) == 'string' and binary:match('[^/]*$') ~= 'rsync'
end

-- The names that a gauge admits.
local function admitted(gauge, names)
	for key, value in pairs(gauge) do
		if type(key) == 'string' and value then
			names[#names + 1] = key
		elseif type(key) == 'number' and type(value) == 'table' then
			admitted(value, names)
		end
	end
	return names
end

local checked

-- Makes the configuration of a sync that has actions of its own; nil for any other. With it come
-- whether the names of its keys are to be checked, and which are right beside the usual.
function runtime.adopt(given)
	local config = {}
	inherit(config, given)
	if not is_scripted(config) then return nil end
	checked = config.prepare == nil
	if config._layer then config.rsync = config.rsync or {} end
	if config._layer == 'rsyncssh' then config.ssh = config.ssh or {} end
	if config.prepare ~= nil then config.prepare(config, 3, false) end
	for _, name in ipairs(HANDLERS) do
		local text = config[name]
		if type(text) == 'string' and text:find('%^[od]?%.?target') and not config.target then
			error(name .. ' uses ^target, and the sync has no target', 0)
		end
	end
	local names = type(config.checkgauge) == 'table' and admitted(config.checkgauge, {}) or {}
	return config, checked, names
end

-- Variables of commands.
local NAMES = {}
for _, name in ipairs { 'source', 'target', 'path', 'pathname', 'pathdir', 'sourcePath',
	'sourcePathname', 'sourcePathdir', 'targetPath', 'targetPathname', 'targetPathdir' } do
	NAMES[name] = true
end

-- Calls `text(piece)` and `variable(which, name)` for the parts of a command.
local function parts(command, text, variable)
	local at = 1
	while true do
		local from, to, which, name = command:find('%^([od]?)%.?(%a+)', at)
		while from and not NAMES[name] do
			-- `^d.name` and `^o.name` have a dot, `^name` has none.
			local whole = command:match('^%^(%a+)', from)
			if whole and NAMES[whole] then
				which, name, to = '', whole, from + #whole
				break
			end
			text(command:sub(at, from))
			at = from + 1
			from, to, which, name = command:find('%^([od]?)%.?(%a+)', at)
		end
		if not from then break end
		text(command:sub(at, from - 1))
		variable(which, name)
		at = to + 1
	end
	text(command:sub(at))
end

-- A program with its arguments: cut at blanks before names are put in.
local function direct(command)
	return function(event, event2)
		local words = {}
		for word in command:gmatch('%S+') do
			local made = {}
			parts(word, function(piece) made[#made + 1] = piece end, function(which, name)
				made[#made + 1] = (which == 'd' and event2 or event)[name]
			end)
			words[#words + 1] = table.concat(made)
		end
		log('Normal', 'Event ', event.etype, ' spawns action "', command, '"')
		spawn(event, words)
	end
end

-- A name is one line of the log, whatever it holds.
local function one_line(name) return (name:gsub('%c', '?')) end

-- A command for the shell: names reach it as arguments, in quotes of their own wherever they stand.
local function shell(command)
	local script, wanted, shown = {}, {}, {}
	local stack = { { double = false } }
	local single = false
	local function quoting(piece)
		local at = 1
		while at <= #piece do
			local c, top = piece:sub(at, at), stack[#stack]
			if single then
				single = c ~= "'"
			elseif c == '\\' then
				at = at + 1
			elseif c == '"' then
				top.double = not top.double
			elseif c == "'" and not top.double then
				single = true
			elseif c == '(' and (not top.double or piece:sub(at - 1, at - 1) == '$') then
				stack[#stack + 1] = { double = false }
			elseif c == ')' and not top.double and #stack > 1 then
				stack[#stack] = nil
			end
			at = at + 1
		end
	end
	parts(command, function(piece)
		quoting(piece)
		script[#script + 1] = piece
		shown[#shown + 1] = piece
	end, function(which, name)
		wanted[#wanted + 1] = { which = which, name = name }
		shown[#shown + 1] = #wanted
		local word = '${' .. #wanted .. '}'
		if single then
			word = "'\"" .. word .. "\"'"
		elseif not stack[#stack].double then
			word = '"' .. word .. '"'
		end
		script[#script + 1] = word
	end)
	script = table.concat(script)
	return function(event, event2)
		local values = {}
		for at, one in ipairs(wanted) do
			values[at] = (one.which == 'd' and event2 or event)[one.name]
		end
		local line = {}
		for at, piece in ipairs(shown) do line[at] = values[piece] and one_line(values[piece]) or piece end
		log('Normal', 'Event ', event.etype, ' spawns shell "', table.concat(line), '"')
		spawnShell(event, script, values)
	end
end

local function translated(command)
	if command:sub(1, 1) == '/' then return direct(command) end
	local first = command:match('^%^(%a+)')
	if command:sub(1, 1) == '^' and not NAMES[first or ''] then command = command:sub(2) end
	return shell(command)
end

-- Fields of an event that follow from its path.
local FIELDS = {}
local function trimmed(path) return (path:gsub('/$', '')) end
local function dir_of(path) return trimmed(path):match('^(.*)/[^/]*$') or '' end
function FIELDS.path(e) return e._path end
function FIELDS.pathname(e) return trimmed(e._path) end
function FIELDS.pathdir(e)
	local dir = dir_of(e._path)
	return dir == '' and '' or dir .. '/'
end
function FIELDS.name(e) return e._path:match('[^/]+/?$') or '' end
function FIELDS.basename(e) return trimmed(e._path):match('[^/]*$') end
function FIELDS.source(e) return e.config.source end
function FIELDS.target(e) return e.config.target end
for _, side in ipairs { 'source', 'target' } do
	for field, inner in pairs { Path = 'path', Pathname = 'pathname', Pathdir = 'pathdir' } do
		FIELDS[side .. field] = function(e)
			local base = e.config[side]
			if not base then error('this sync has no ' .. side, 0) end
			return base .. '/' .. e[inner]
		end
	end
end
function FIELDS.status(e) return core.status(e._sync, e._ids[1]) end

local event_meta = {
	__index = function(event, key)
		local field = FIELDS[key]
		if field then return field(event) end
		if key == 'move' or key == 'target' then return nil end
		error('event has no field "' .. tostring(key) .. '"', 2)
	end,
}

local function event_of(sync, id)
	local known = sync.events[id]
	if not known then
		sync.known = sync.known + 1
		if sync.known > 1000 then
			sync.known = 0
			for old in pairs(sync.events) do
				if core.status(sync.index, old) == 'done' then
					sync.events[old] = nil
				else
					sync.known = sync.known + 1
				end
			end
		end
		local kind, path, to, dir = core.delay(sync.index, id)
		local function made(path, move)
			return setmetatable({
				_ids = { id }, _sync = sync.index, _path = dir and path ~= '' and path .. '/' or path,
				config = sync.config, inlet = sync.inlet, etype = kind, isdir = dir, isList = false,
				move = move,
			}, event_meta)
		end
		known = { made(path, to and 'Fr' or nil), to and made(to, 'To') or nil }
		sync.events[id] = known
	end
	return known[1], known[2]
end

local function list_of(sync, ids)
	local list = { _ids = ids, _sync = sync.index, isList = true, config = sync.config }
	function list.size() return #ids end
	function list.getList()
		local all = {}
		for at, id in ipairs(ids) do all[at] = event_of(sync, id) end
		return all
	end
	function list.getPaths(mutator)
		local found = {}
		for _, id in ipairs(ids) do
			local event, event2 = event_of(sync, id)
			local one, two = '/' .. event.path, event2 and '/' .. event2.path or nil
			if mutator then one, two = mutator(event.etype, one, two) end
			found[#found + 1] = one
			if two then found[#found + 1] = two end
		end
		return found
	end
	return list
end

-- All rules, one a line: those of the configuration, those that were appended, the excludes.
local function rules_of(sync)
	local all, rules = {}, core.rules(sync.index)
	table.move(rules, 1, #rules - sync.configured, 1, all)
	table.move(sync.appended, 1, #sync.appended, #all + 1, all)
	for _, pattern in ipairs(sync.excludes) do all[#all + 1] = '- ' .. pattern end
	return all
end

local function inlet_of(sync)
	local inlet = {}
	function inlet.getEvent()
		local id = core.first(sync.index)
		if id then return event_of(sync, id) end
	end
	function inlet.getEvents(test)
		local ids = {}
		for _, id in ipairs(core.open(sync.index)) do
			local event, event2 = event_of(sync, id)
			local wanted = not test or test(event, event2)
			if wanted == 'break' then break end
			if wanted then ids[#ids + 1] = id end
		end
		return list_of(sync, ids)
	end
	function inlet.discardEvent(event) core.done(sync.index, event._ids) end
	function inlet.getConfig() return sync.config end
	function inlet.getSync() return sync.inlet end
	local function hide() core.hide(sync.index, sync.appended, sync.excludes) end
	function inlet.addExclude(pattern)
		sync.excludes[#sync.excludes + 1] = pattern
		hide()
	end
	function inlet.rmExclude(pattern)
		for at = #sync.excludes, 1, -1 do
			if sync.excludes[at] == pattern then
				if at <= sync.configured then
					error('rmExclude: "' .. pattern .. '" stands in the configuration and stays', 2)
				end
				table.remove(sync.excludes, at)
				return hide()
			end
		end
		log('Normal', 'Removing not excluded exclude "', pattern, '"')
	end
	-- A rule behind those of the configuration; the excludes come after it.
	function inlet.appendFilter(rule)
		local sign = tostring(rule):match('^([+-]) ')
		if not sign then error('Unknown filter rule: "' .. tostring(rule) .. '"', 2) end
		if sign == '+' and #sync.excludes > 0 then
			error('appendFilter: "' .. rule .. '" cannot show what exclude hides; write it as filter', 2)
		end
		sync.appended[#sync.appended + 1] = rule
		hide()
	end
	function inlet.getFilters() return rules_of(sync) end
	function inlet.hasFilters() return #rules_of(sync) > 0 end
	function inlet.getExcludes() return table.move(sync.excludes, 1, #sync.excludes, 1, {}) end
	function inlet.createBlanketEvent()
		while_running('createBlanketEvent')
		return (event_of(sync, core.add(sync.index, 'Blanket')))
	end
	function inlet.createFullEvent()
		while_running('createFullEvent')
		return (event_of(sync, core.add(sync.index, 'Full')))
	end
	return setmetatable(inlet, { __index = function(_, key)
		error('inlet.' .. tostring(key) .. ' is not done here', 2)
	end })
end

-- Takes a sync in when it is written; what it hands out is its inlet.
function runtime.enlist(config)
	local sync = { config = config, events = {}, known = 0, excludes = {}, appended = {}, configured = 0,
		index = 0, handlers = {} }
	sync.inlet = inlet_of(sync)
	if config then
		for _, name in ipairs(HANDLERS) do
			local given = config[name]
			sync.handlers[name] = type(given) == 'string' and translated(given) or given
		end
	end
	runtime.syncs[#runtime.syncs + 1] = sync
	return sync.inlet
end

-- What the program has made of a sync's table.
function runtime.settle(at, index, source, target, words, prefix, excludes)
	local sync = runtime.syncs[at]
	local config = sync.config
	sync.index, sync.words, sync.prefix, sync.excludes = index, words, prefix, excludes
	sync.configured = #excludes
	config.source = source
	if config._layer then config.target = target end
	if config.action == nil then config.action = default[config._layer or 'own'].action end
	if type(config.init) ~= 'function' and config.init ~= false then
		config.init = default[config._layer or 'own'].init
	end
	return config.onMove ~= nil and config.onMove ~= false
end

local by_index = function(index)
	for _, sync in ipairs(runtime.syncs) do
		if sync.index == index then return sync end
	end
end

-- Has the first event of a sync acted on.
function runtime.act(index, id)
	local sync = by_index(index)
	local event = event_of(sync, id)
	local config = sync.config
	if event.etype == 'Init' then
		if config.init then config.init(event) end
	elseif event.etype == 'Full' then
		local full = config.full or sync.handlers.onFull or config.init
		if full then full(event) end
	else
		config.action(sync.inlet)
		return core.status(index, id) == 'wait'
	end
	if core.status(index, id) == 'wait' then core.done(index, { id }) end
	return false
end

-- Judges a process that has ended.
function runtime.ended(index, process, code)
	local sync = by_index(index)
	local agent = agents[process]
	agents[process] = nil
	local verdict = (sync.config.collect or default.collect)(agent, code)
	if verdict == 'die' then
		terminate(-1)
	elseif verdict == 'again' then
		core.again(index, agent._ids)
	else
		core.done(index, agent._ids)
		for _, id in ipairs(agent._ids) do sync.events[id] = nil end
	end
end

local DIES_AT_START = { [1] = true, [2] = true, [4] = true, [25] = true, [127] = true }

function default.collect(agent, code)
	local config = agent.config
	local codes = config.rsyncExitCodes or config.exitcodes
	local rule = codes and codes[code]
	local starts = not agent.isList and agent.etype == 'Init'
	local what = starts and one_line(config.source .. ' -> ' .. tostring(config.target))
		or agent.isList and 'a list' or agent.etype .. ' on ' .. one_line(agent.sourcePath)
	local with = agent.isList and ' after exitcode = ' or ' = '
	if not rule and code == 0 then
		rule = 'ok'
	elseif not rule and config._layer then
		rule = starts and DIES_AT_START[code] and 'die' or 'again'
	end
	if rule == 'ok' then
		log('Normal', starts and 'Startup of ' .. what .. ' finished.'
			or 'Finished ' .. what .. (agent.isList and ' after exitcode: ' or ' = ') .. code)
	elseif rule == 'again' then
		log('Normal', 'Retrying ', starts and 'startup of ' or '', what, with, code)
		return 'again'
	elseif rule == 'die' or starts then
		log('Error', starts and 'Failure on startup of ' .. what .. ', exitcode = ' .. code
			or 'Failure with ' .. what .. with .. code)
		return 'die'
	else
		log('Error', 'Failure with ', what, with, code)
	end
end

function default.prepare() checked = true end

default.checkgauge = {}
rawset(default, 'own', {
	-- Strings and functions by the kind of event; what nobody acts on is dropped.
	action = function(inlet)
		local event, event2 = inlet.getEvent()
		local sync = by_index(event._sync)
		local handler = sync.handlers['on' .. event.etype]
		if type(handler) == 'function' then handler(event, event2) end
		if event.status == 'wait' then inlet.discardEvent(event) end
	end,
	init = function(event)
		local handler = by_index(event._sync).handlers.onStartup
		if type(handler) == 'function' then handler(event) end
	end,
})
default.action, default.init = default.own.action, default.own.init

-- A name as a pattern that stands for nothing else.
local function literal(path)
	if not path:find('[%?%*%[]') then return path end
	return (path:gsub('[%?%*%[%]\\]', '\\%0'))
end

local transfer = {}
transfer.checkgauge, transfer.prepare, transfer.collect = {}, default.prepare, default.collect

function transfer.init(event)
	local sync = by_index(event._sync)
	local config = event.config
	local deletes = config.delete == nil or config.delete == true or config.delete == 'startup'
	log('Normal', 'recursive startup rsync: ', config.source, ' -> ', config.target)
	if deletes and next(readdir(config.source)) == nil then
		-- An unmounted disk, or a wrong path.
		log('Warn', config.source, ' is empty: nothing is deleted at the target')
		deletes = false
	end
	spawn(event, sync.prefix[1], '<', table.concat(rules_of(sync), '\n') .. '\n',
		{ table.unpack(sync.prefix, 2) }, deletes and { '--delete', '--ignore-errors' } or nil,
		sync.words, '-r', '--filter=. -', config.source, config.target)
end

function transfer.action(inlet)
	local first = inlet.getEvent()
	if first.etype == 'Blanket' then return inlet.discardEvent(first) end
	local sync = by_index(first._sync)
	local config = sync.config
	local limit = config.batchSizeLimit
	local function large(event)
		return limit and event.etype ~= 'Delete' and event.etype ~= 'Move'
			and core.size(event._sync, event._ids[1]) > limit
	end
	local alone = large(first)
	local list = inlet.getEvents(function(event)
		if event.etype == 'Init' or event.etype == 'Blanket' or event.etype == 'Full' then
			return 'break'
		end
		-- A large file goes by itself.
		if alone then return event == first end
		return not large(event)
	end)
	local seen, lines = {}, {}
	local function add(line)
		if not seen[line] then
			seen[line] = true
			lines[#lines + 1] = line
		end
	end
	local function include(path, whole)
		local at = 1
		while true do
			local slash = path:find('/', at + 1, true)
			if not slash or slash == #path then break end
			add(literal(path:sub(1, slash)))
			at = slash
		end
		add(literal(path) .. (whole and '***' or ''))
		if not whole then add((literal(path):gsub('/$', ''))) end
	end
	list.getPaths(function(etype, one, two)
		include(one, one:sub(-1) == '/' and (etype == 'Delete' or etype == 'Move'))
		if two then include(two, two:sub(-1) == '/') end
	end)
	local deletes = config.delete == nil or config.delete == true or config.delete == 'running'
	local shown = {}
	for at, line in ipairs(lines) do shown[at] = one_line(line) end
	log('Normal', 'Calling rsync with filter-list of new/modified files/dirs\n',
		table.concat(shown, '\n'))
	spawn(list, sync.prefix[1], '<', table.concat(lines, '\0') .. '\0',
		{ table.unpack(sync.prefix, 2) }, sync.words, '-r',
		deletes and { '--delete', '--ignore-errors' } or nil,
		'--force', '--from0', '--include-from=-', '--exclude=*', config.source, config.target)
end

for _, name in ipairs { 'rsync', 'rsyncssh', 'direct' } do
	setmetatable(default[name], { __index = transfer })
end

return runtime
